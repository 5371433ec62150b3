"""Infotext survives in every format, and is where the WebUI looks for it."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.video.exif import dump_user_comment, load_user_comment
from lib_animatediff.video.metadata import probe, read_infotext
from lib_animatediff.video.write import WriterOptions, write_animation

FILES = ["GIF", "MP4", "WEBP", "WEBM", "PNG", "TXT"]
PLAIN = 'a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 1, AnimateDiff: "model: mm.ckpt, fps: 8"'
TEXTS = {
    "plain": PLAIN,
    "one letter": "x",
    "emoji": "a 😀 👩‍👩‍👧‍👦 cat, ünïcödé, 日本語の猫\nSteps: 1",
    "newlines": "0: spring\n8: summer\n\n\ttail  \nNegative prompt: a\nSteps: 1",
    "quotes": "\"\\\\'{}[]<>=;#\nSteps: 1",
    "long": "(masterpiece:1.2), 猫😀 " * 500 + "\nSteps: 20",
}


def frames():
    return [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_round_trip(tmp_path, name, text):
    (result,) = write_animation(frames(), tmp_path / "a", [name], fps=8, infotext=text)
    assert read_infotext(result.path) == text


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("options", [WriterOptions(gif_palette=True, webp_lossless=True), WriterOptions()])
def test_round_trip_with_every_way_of_writing(tmp_path, options, count):
    for result in write_animation(frames()[:count], tmp_path / "a", FILES, fps=8, infotext=PLAIN, options=options):
        assert read_infotext(result.path) == PLAIN


@pytest.mark.parametrize("name", FILES)
def test_what_no_file_can_hold_is_replaced(tmp_path, name):
    (result,) = write_animation(frames(), tmp_path / "a", [name], fps=8, infotext="half \ud83d pair\0 and nul")
    assert result.error is None
    assert read_infotext(result.path) == "half ? pair and nul"


@pytest.mark.parametrize("name", FILES[:-1])
@pytest.mark.parametrize("infotext", [None, ""])
def test_none_in_none_out(tmp_path, name, infotext):
    (result,) = write_animation(frames(), tmp_path / "a", [name], fps=8, infotext=infotext)
    assert read_infotext(result.path) is None


def test_each_png_frame_has_it(tmp_path):
    write_animation(frames(), tmp_path / "a", ["PNG"], fps=8, infotext=TEXTS["emoji"])
    for number in range(3):
        path = tmp_path / "a" / f"{number:05}.png"
        assert Image.open(path).info["parameters"] == read_infotext(path) == TEXTS["emoji"]


def test_where_the_webui_looks_in_a_gif(tmp_path):
    write_animation(frames(), tmp_path / "a", ["GIF"], fps=8, infotext=TEXTS["long"])
    assert Image.open(tmp_path / "a.gif").info["comment"].decode("utf-8") == TEXTS["long"]


def test_where_the_webui_looks_in_a_webp(tmp_path):
    """A1111 reads by piexif: UserComment of the Exif IFD, type UNDEFINED, "UNICODE" and UTF-16BE."""
    write_animation(frames(), tmp_path / "a", ["WEBP"], fps=8, infotext=TEXTS["emoji"])
    exif = Image.open(tmp_path / "a.webp").info["exif"]
    exif = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    assert exif[:8] == b"MM\0*\0\0\0\x08"
    tag, kind, count, pointer = struct.unpack(">HHII", exif[10:22])
    assert (tag, kind, count) == (0x8769, 4, 1)
    tag, kind, count, offset = struct.unpack(">HHII", exif[pointer + 2 : pointer + 14])
    assert (tag, kind) == (0x9286, 7)
    comment = exif[offset : offset + count]
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be") == TEXTS["emoji"]


def test_piexif_agrees(tmp_path):
    piexif = pytest.importorskip("piexif")
    pytest.importorskip("piexif.helper")
    write_animation(frames(), tmp_path / "a", ["WEBP"], fps=8, infotext=TEXTS["long"])
    loaded = piexif.load(Image.open(tmp_path / "a.webp").info["exif"])
    assert piexif.helper.UserComment.load(loaded["Exif"][piexif.ExifIFD.UserComment]) == TEXTS["long"]
    theirs = piexif.dump(
        {"Exif": {piexif.ExifIFD.UserComment: piexif.helper.UserComment.dump(TEXTS["emoji"], encoding="unicode")}}
    )
    assert load_user_comment(theirs) == TEXTS["emoji"]


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_exif_holds_any_text(text):
    # The byte order of other programs' UTF-16 is guessed by the Latin letters, which infotext always has.
    text = f"{text}\nSteps: 20, Sampler: Euler a, Seed: 1, " + "x" * len(text)
    assert load_user_comment(dump_user_comment(text)) == text


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        (b"ASCII\0\0\0" + b"Steps: 20", "Steps: 20"),
        (bytes(8) + b"Steps: 20\0\0", "Steps: 20"),
        (b"UNICODE\0" + "Steps: 20 猫".encode("utf-16-le"), "Steps: 20 猫"),
        (b"UNICODE\0" + "Steps: 20 猫".encode("utf-16"), "Steps: 20 猫"),
        ("Steps: 20 é".encode(), "Steps: 20 é"),
        (b"UNICODE\0", None),
    ],
)
def test_other_programs_user_comments(comment, expected):
    block = dump_user_comment("")
    start = block.index(b"UNICODE\0")
    length = struct.pack(">I", len(comment))
    head = block[: start - 12] + length + block[start - 8 : start]
    assert load_user_comment(head + comment) == expected


def test_exif_without_a_comment():
    exif = Image.Exif()
    exif[0x010E] = "a description"
    assert load_user_comment(exif.tobytes()) is None


@pytest.mark.parametrize("block", [b"Exif\0\0nonsense", b"x"])
def test_damaged_exif(tmp_path, block):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, exif=block)
    with pytest.raises(UnsupportedError, match="EXIF block that cannot be read"):
        read_infotext(path)


@pytest.mark.filterwarnings("ignore:(?i).*(corrupt EXIF|truncated file):UserWarning")
@pytest.mark.parametrize("length", range(16, 56, 4))
def test_exif_that_ends_too_early_has_no_comment(length):
    assert load_user_comment(dump_user_comment("Steps: 20")[:length]) is None


def test_a_still_image_of_the_webui(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", PLAIN)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=chunks)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", exif=dump_user_comment(PLAIN))
    assert read_infotext(tmp_path / "a.png") == read_infotext(tmp_path / "a.jpg") == PLAIN


@pytest.mark.parametrize("extension", ["gif", "mp4", "webm", "webp", "png"])
@pytest.mark.parametrize("content", [b"", b"not a file of this kind", np.random.default_rng(0).bytes(4000)])
@pytest.mark.parametrize("read", [read_infotext, probe])
def test_damaged_files(tmp_path, extension, content, read):
    path = tmp_path / f"a.{extension}"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match=f"a.{extension} is not"):
        read(path)


@pytest.mark.parametrize("extension", ["gif", "mp4", "webm", "webp", "png", "txt"])
def test_missing_files(tmp_path, extension):
    with pytest.raises(FileNotFoundError):
        read_infotext(tmp_path / f"a.{extension}")


def test_an_empty_folder(tmp_path):
    with pytest.raises(UnsupportedError, match="no PNG frames"):
        probe(tmp_path)
    with pytest.raises(UnsupportedError, match="no PNG frames"):
        read_infotext(tmp_path)


def test_reading_a_movie_without_pyav(tmp_path, monkeypatch):
    import sys

    write_animation(frames(), tmp_path / "a", ["MP4"], fps=8)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedError, match="pip install av"):
        read_infotext(tmp_path / "a.mp4")
