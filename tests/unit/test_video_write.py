"""Files are whole or not there, each format stands alone, and frames of any kind come out right."""

import sys
import tracemalloc
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from lib_animatediff.errors import UnsupportedError, VideoWriteError
from lib_animatediff.video import write as write_module
from lib_animatediff.video.formats import FORMAT_NAMES, FORMATS, format_named
from lib_animatediff.video.metadata import probe, read_infotext
from lib_animatediff.video.write import WriteResult, WriterOptions, write_animation

FILES = ["GIF", "MP4", "WEBP", "WEBM", "PNG"]


def ramp(count=4, size=(64, 48), mode="RGB"):
    """Frames of a colour ramp with a red square that moves."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    frames = []
    for number in range(count):
        pixels = np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 128)], -1).astype(np.uint8)
        pixels[height // 4 : height // 2, number : number + width // 4] = (230, 20, 20)
        frames.append(Image.fromarray(pixels).convert(mode))
    return frames


def leftovers(folder):
    return sorted(entry.name for entry in folder.iterdir())


def decoded(path):
    """All frames of any of our files as RGB images, colours as the file's own tags say."""
    if path.is_dir():
        return [Image.open(entry).convert("RGB") for entry in sorted(path.iterdir())]
    if path.suffix in (".mp4", ".webm"):
        import av

        with av.open(str(path)) as container:
            return [rgb_of(frame) for frame in container.decode(video=0)]
    image = Image.open(path)
    frames = []
    for number in range(image.n_frames):
        image.seek(number)
        frames.append(image.convert("RGB"))
    return frames


def rgb_of(frame):
    """A decoded yuv420p frame to RGB by the inverse BT.709 matrix, written out here (limited range)."""
    assert frame.format.name == "yuv420p"
    height, width = frame.height, frame.width
    planes = frame.to_ndarray().astype(float).ravel()
    y = (planes[: height * width].reshape(height, width) - 16) / 219
    quarter = height * width // 4
    u, v = ((planes[height * width + i * quarter :][:quarter].reshape(height // 2, -1) - 128) / 224 for i in (0, 1))
    u, v = (plane.repeat(2, 0).repeat(2, 1) for plane in (u, v))
    rgb = np.stack([y + 1.5748 * v, y - 0.1873 * u - 0.4681 * v, y + 1.8556 * u], -1)
    return Image.fromarray((rgb * 255).round().clip(0, 255).astype(np.uint8))


def mean_difference(one, other):
    one = one.convert("RGB").crop((0, 0, *other.size))
    return np.abs(np.asarray(one, float) - np.asarray(other.convert("RGB"), float)).mean()


class Lazy(Sequence):
    """Frames made on access; knows how many were made and how many of them are still alive."""

    def __init__(self, count, size=(256, 256)):
        self.count, self.size, self.made = count, size, 0

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        if not 0 <= number < self.count:
            raise IndexError(number)
        self.made += 1
        return Image.new("RGB", self.size, (number * 3 % 256, 255 - number * 3 % 256, 90))


class Failing(Sequence):
    """Frames of which one raises."""

    def __init__(self, error, at=2, count=5):
        self.error, self.at, self.frames = error, at, ramp(count)

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, number):
        if number == self.at:
            raise self.error
        return self.frames[number]


def test_every_format_is_written_where_it_belongs(tmp_path):
    stem = tmp_path / "day" / "00003-42-v1.5"
    results = write_animation(ramp(), stem, FORMAT_NAMES, fps=8, infotext="Steps: 20")
    assert [result.format for result in results] == list(FORMAT_NAMES)
    assert all(result.error is None and result.note is None for result in results)
    paths = {result.format: result.path for result in results}
    assert paths["Frame"] is None
    assert paths["PNG"] == stem
    assert leftovers(stem) == [f"{number:05}.png" for number in range(4)]
    for entry in FORMATS:
        if entry.name not in ("PNG", "Frame"):
            assert paths[entry.name].name == f"00003-42-v1.5{entry.extension}"
            assert paths[entry.name].is_file()
    assert len(leftovers(stem.parent)) == 6
    assert paths["TXT"].read_text(encoding="utf-8") == "Steps: 20\n"


@pytest.mark.parametrize("name", FILES)
def test_frames_come_back_in_colour_and_order(tmp_path, name):
    frames = ramp(6)
    options = WriterOptions(webp_quality=95, mp4_crf=12)
    (result,) = write_animation(frames, tmp_path / "a", [name], fps=8, options=options)
    back = decoded(result.path)
    assert len(back) == 6
    allowed = {"PNG": 0, "GIF": 6}.get(name, 4)
    for frame, seen in zip(frames, back, strict=True):
        assert mean_difference(seen, frame) <= allowed
        assert np.abs(np.asarray(seen, float).mean((0, 1)) - np.asarray(frame, float).mean((0, 1))).max() < 3


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_mode_of_frame(tmp_path, name, mode):
    if mode == "I;16":
        frames = [Image.fromarray(np.asarray(frame.convert("L")).astype(np.uint16) * 257) for frame in ramp(3)]
        expected = [frame.convert("L").convert("RGB") for frame in ramp(3)]
    else:
        frames = ramp(3, mode="RGB")
        frames = [frame.convert(mode) for frame in frames]
        expected = [frame.convert("RGB") for frame in frames]
    (result,) = write_animation(frames, tmp_path / "a", [name], fps=8, options=WriterOptions(webp_lossless=True))
    assert result.error is None
    back = decoded(result.path)
    assert len(back) == 3
    if not (name == "PNG" and mode == "I;16"):
        # Pillow dithers a palette, and chroma for 2x2 pixels cannot follow that.
        assert max(map(mean_difference, back, expected)) < (20 if mode == "P" else 12)


def test_modes_may_be_mixed(tmp_path):
    rgb = ramp(4)
    frames = [rgb[0], rgb[1].convert("RGBA"), rgb[2].convert("L"), rgb[3].convert("P")]
    for result in write_animation(frames, tmp_path / "a", FILES, fps=8):
        assert result.error is None
        assert len(decoded(result.path)) == 4


def test_transparency_is_black_where_a_format_has_none_and_kept_where_it_has(tmp_path):
    frame = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    frame.paste((200, 100, 50, 255), (0, 0, 16, 32))
    options = WriterOptions(webp_lossless=True)
    results = write_animation([frame, frame.transpose(0)], tmp_path / "a", FILES, fps=8, options=options)
    for result in results:
        image = decoded(result.path)[0]
        if result.format not in ("PNG", "WEBP"):
            assert max(image.getpixel((28, 28))) < 8, result.format
    assert Image.open(tmp_path / "a.webp").convert("RGBA").getpixel((28, 28))[3] == 0
    assert Image.open(tmp_path / "a" / "00000.png").getpixel((28, 28)) == (255, 255, 255, 0)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("count", [1, 2, 300])
def test_any_number_of_frames(tmp_path, name, count):
    frames = [Image.new("RGB", (16, 16), (number * 7 % 256, number, 255 - number % 256)) for number in range(count)]
    (result,) = write_animation(frames, tmp_path / "a", [name], fps=8)
    assert result.error is None
    info = probe(result.path)
    assert (info.frames, info.size) == (count, (16, 16))
    if name != "PNG" and not (count == 1 and name == "WEBP"):
        assert info.fps == pytest.approx(8, rel=0.05 if count == 1 else 1e-3)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("bad", [1, 2])
def test_frames_of_two_sizes(tmp_path, name, bad):
    frames = ramp(3)
    frames[bad] = frames[bad].resize((32, 32))
    (result,) = write_animation(frames, tmp_path / "a", [name], fps=8)
    if name == "PNG":
        assert result.error is None
        return
    assert result.path is None
    assert f"Frame {bad} is 32x32, but the first frame is 64x48." in result.error
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), ZeroDivisionError("x / 0")])
def test_a_failure_is_a_sentence_and_leaves_nothing(tmp_path, name, error):
    (result,) = write_animation(Failing(error), tmp_path / "a", [name], fps=8, infotext="x")
    assert result.path is None
    assert result.error.startswith(f"{name} was not written")
    assert result.error.endswith(".")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", FILES)
def test_ctrl_c_goes_through_and_leaves_nothing(tmp_path, name):
    with pytest.raises(KeyboardInterrupt):
        write_animation(Failing(KeyboardInterrupt()), tmp_path / "a", [name], fps=8, infotext="x")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", FILES)
def test_a_failure_keeps_the_file_that_was_there(tmp_path, name):
    (before,) = write_animation(ramp(3), tmp_path / "a", [name], fps=8)
    names = leftovers(tmp_path)
    content = [frame.tobytes() for frame in decoded(before.path)]
    (result,) = write_animation(Failing(OSError("disk")), tmp_path / "a", [name], fps=8)
    assert result.error
    assert leftovers(tmp_path) == names
    assert [frame.tobytes() for frame in decoded(before.path)] == content


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_same_name_is_replaced(tmp_path, name):
    write_animation(ramp(5), tmp_path / "a", [name], fps=8)
    (result,) = write_animation(ramp(2), tmp_path / "a", [name], fps=8)
    assert probe(result.path).frames == 2
    assert len(leftovers(tmp_path)) == 1


def test_a_folder_that_cannot_be_renamed_brings_the_former_one_back(tmp_path, monkeypatch):
    write_animation(ramp(5), tmp_path / "a", ["PNG"], fps=8)
    real = write_module.os.replace

    def replace(source, target):
        if str(source).endswith(".part") and "former" not in str(source):
            raise PermissionError(13, "in use")
        real(source, target)

    monkeypatch.setattr(write_module.os, "replace", replace)
    (result,) = write_animation(ramp(2), tmp_path / "a", ["PNG"], fps=8)
    assert "in use" in result.error
    assert leftovers(tmp_path) == ["a"]
    assert probe(tmp_path / "a").frames == 5


def test_one_format_that_fails_costs_only_itself(tmp_path, monkeypatch):
    def broken(animation, path):
        path.write_bytes(b"half")
        raise RuntimeError("the encoder fell over")

    monkeypatch.setitem(write_module._WRITERS, "MP4", broken)
    results = {
        result.format: result for result in write_animation(ramp(), tmp_path / "a", [*FILES, "APNG", "TXT"], fps=8)
    }
    assert results["MP4"].error == "MP4 was not written: the encoder fell over."
    assert "There is no format 'APNG'. Choose from GIF" in results["APNG"].error
    assert "no infotext" in results["TXT"].error
    assert leftovers(tmp_path) == ["a", "a.gif", "a.webm", "a.webp"]


def test_a_folder_that_cannot_be_made_is_an_error_of_each_format(tmp_path):
    (tmp_path / "file").write_text("in the way")
    results = write_animation(ramp(), tmp_path / "file" / "a", ["GIF", "PNG"], fps=8)
    assert all(result.path is None and result.error for result in results)


@pytest.mark.parametrize("name", ["MP4", "WEBM"])
def test_without_pyav_the_sentence_says_what_to_install(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "av", None)
    results = write_animation(ramp(), tmp_path / "a", [name, "GIF"], fps=8)
    assert "pip install av" in results[0].error
    assert results[1].error is None


def test_a_pyav_that_does_not_load_is_not_called_missing(tmp_path, monkeypatch):
    def load(name):
        raise ImportError("libavcodec.so.61: cannot open shared object file", name="av._core")

    monkeypatch.setattr("lib_animatediff.video.codecs.importlib.import_module", load)
    (result,) = write_animation(ramp(), tmp_path / "a", ["MP4"], fps=8)
    assert "installed but does not load (libavcodec.so.61" in result.error


def test_the_optimised_palette_without_pyav(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (result,) = write_animation(ramp(), tmp_path / "a", ["GIF"], fps=8, options=WriterOptions(gif_palette=True))
    assert "pip install av" in result.error


@pytest.mark.parametrize("name", FILES)
def test_frames_are_streamed(tmp_path, name):
    write_animation(Lazy(2), tmp_path / "warm", [name], fps=8)
    tracemalloc.start()
    try:
        frames = Lazy(60)
        (result,) = write_animation(frames, tmp_path / "a", [name], fps=8)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.error is None
    assert frames.made <= 62
    # Pillow's pixels are not traced, but NumPy's are: a few frames of float32, not sixty.
    assert peak < 20 * 256 * 256 * 3 * 4


def test_pillow_frames_do_not_pile_up(tmp_path, monkeypatch):
    alive, most = [], [0]

    class Counted(Image.Image):
        def __del__(self):
            alive.pop()

    class Frames(Lazy):
        def __getitem__(self, number):
            source = super().__getitem__(number)
            frame = Counted()
            frame.__setstate__([{}, "RGB", source.size, None, source.tobytes()])
            alive.append(number)
            most[0] = max(most[0], len(alive))
            return frame

    for name in FILES:
        most[0] = 0
        (result,) = write_animation(Frames(40, (16, 16)), tmp_path / "a", [name], fps=8)
        assert result.error is None
        assert 1 <= most[0] <= 6, name


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e9])
def test_impossible_speeds(tmp_path, fps):
    with pytest.raises(VideoWriteError, match="frames per second"):
        write_animation(ramp(), tmp_path / "a", ["GIF"], fps=fps)


def test_nothing_to_write(tmp_path):
    with pytest.raises(VideoWriteError, match="no frames"):
        write_animation([], tmp_path / "a", ["GIF"], fps=8)
    with pytest.raises(VideoWriteError, match="loop count"):
        write_animation(ramp(), tmp_path / "a", ["GIF"], fps=8, loop=-1)
    assert leftovers(tmp_path) == []


def test_a_format_named_twice_is_written_once(tmp_path):
    results = write_animation(ramp(), tmp_path / "a", ["GIF", "GIF"], fps=Fraction(30000, 1001))
    assert results == [WriteResult("GIF", tmp_path / "a.gif")]


@pytest.mark.parametrize("name", [*FILES, "TXT"])
def test_infotext_is_left_out_where_it_is_not_wanted(tmp_path, name):
    options = WriterOptions(embed_infotext=False)
    (result,) = write_animation(ramp(), tmp_path / "a", [name], fps=8, infotext="Steps: 20", options=options)
    assert read_infotext(result.path) == ("Steps: 20" if name == "TXT" else None)


def test_the_table_of_formats():
    assert [entry.name for entry in FORMATS if entry.in_api] == ["GIF", "MP4", "WEBP", "WEBM"]
    assert [entry.name for entry in FORMATS if entry.api_only] == ["Frame"]
    assert [entry.name for entry in FORMATS if entry.shown == "video"] == ["MP4", "WEBM"]
    assert set(write_module._WRITERS) == set(FILES)
    assert format_named("WEBM").mime == "video/webm"
    with pytest.raises(UnsupportedError, match="GIF, MP4"):
        format_named("gif")
