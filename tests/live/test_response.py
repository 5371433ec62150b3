"""What comes back and what lies on the disk (contract 1.4, 1.5, 1.6)."""

import datetime
import io
import json
import re

import pytest
from PIL import Image

from lib_animatediff.infotext import read_infotext_value
from lib_animatediff.video.metadata import read_infotext
from tests.live import media

MOVING = ("GIF", "MP4", "WEBP", "WEBM")
STEM = r"AnimateDiff/\d{4}-\d\d-\d\d/\d{5}-1"


@pytest.mark.parametrize("name", MOVING)
def test_a_video_is_answered_whole(host, name):
    made = host.animate(format=[name], fps=5)
    assert made.formats == [name]
    facts = media.facts(made.data[0])
    assert facts.frames == host.frames
    assert facts.fps == pytest.approx(5, abs=0.05)
    assert facts.size == (host.size, host.size)


def test_videos_stand_in_the_order_of_the_contract(host):
    assert host.animate(format=["WEBM", "PNG", "WEBP", "TXT", "MP4", "GIF"]).formats == list(MOVING)


def test_frames_follow_the_videos(host):
    made = host.animate(format=["GIF", "Frame"])
    assert made.formats == ["GIF"] + ["PNG"] * host.frames
    assert media.difference(made.frames, host.animate().frames) == 0


@pytest.mark.parametrize("formats", [["PNG"], ["PNG", "Frame"], ["PNG", "TXT"], ["PNG", "Frame", "TXT"]], ids=str)
def test_png_alone_answers_the_frames(host, formats):
    assert host.animate(format=formats).formats == ["PNG"] * host.frames


def test_the_gif_shows_the_frames(host):
    made = host.animate(format=["GIF", "Frame"])
    gif = Image.open(io.BytesIO(made.data[0]))
    for number, frame in enumerate(made.frames):
        gif.seek(number)
        shown = media.np.asarray(gif.convert("RGB"))
        assert abs(shown.astype(int) - frame.astype(int)).mean() < 12, number


def test_a_lossless_webp_shows_the_very_frames(host, options):
    options(animatediff_webp_lossless=True)
    made = host.animate(format=["WEBP", "Frame"])
    webp = Image.open(io.BytesIO(made.data[0]))
    for number, frame in enumerate(made.frames):
        webp.seek(number)
        assert media.difference(media.np.asarray(webp.convert("RGB")), frame) == 0, number


@pytest.mark.parametrize(("loops", "repetitions"), [(0, 0), (3, 2)])
def test_a_gif_plays_as_often_as_asked(host, loops, repetitions):
    """A GIF counts how often it is repeated after the first time."""
    gif = Image.open(io.BytesIO(host.animate(format=["GIF"], loop_number=loops).data[0]))
    assert gif.info["loop"] == repetitions


@pytest.mark.parametrize("loops", [0, 3])
def test_a_webp_plays_as_often_as_asked(host, loops):
    webp = Image.open(io.BytesIO(host.animate(format=["WEBP"], loop_number=loops).data[0]))
    assert webp.info["loop"] == loops


@pytest.mark.parametrize("fps", [1, 7, 30, 60])
def test_mp4_keeps_any_rate(host, fps):
    assert media.facts(host.animate(format=["MP4"], fps=fps).data[0]).fps == pytest.approx(fps, rel=0.01)


def test_seeds_and_infotexts_stay_one_for_each_frame(host):
    made = host.animate(format=["GIF"])
    assert made.info["all_seeds"] == list(range(1, 1 + host.frames))
    assert len(made.info["infotexts"]) == host.frames
    for seed, text in zip(made.info["all_seeds"], made.info["infotexts"], strict=True):
        assert f"Seed: {seed}," in text


def test_send_images_false_answers_without_images(host):
    body = host.request({"format": ["GIF"]}, send_images=False)
    assert host.txt2img(body).body["images"] == []


def test_frames_are_interpolated_when_asked(host):
    made = host.animate(format=["GIF"], interp="Flow", interp_x=2)
    assert media.facts(made.data[0]).frames > host.frames
    assert "interp: Flow" in made.infotext


# infotext


def value_of(infotext: str) -> dict:
    """The settings in the AnimateDiff part of an infotext."""
    found = re.search(r'AnimateDiff: ("(?:[^"\\]|\\.)*")', infotext)
    assert found, infotext
    return read_infotext_value(json.loads(found[1]))


def test_the_infotext_says_what_was_asked(host):
    made = host.animate(fps=5, loop_number=2, stride=1, overlap=1, video_length=3, batch_size=8)
    value = value_of(made.infotext)
    wanted = {"model": host.model, "video_length": 3, "fps": 5, "loop_number": 2, "closed_loop": "N", "batch_size": 8}
    assert {name: value[name] for name in wanted} == wanted
    assert value["overlap"] == 1
    assert re.search(r"mm_hash: [0-9a-f]{8}\b", made.infotext)
    assert "version:" in made.infotext


def test_a_plain_infotext_says_nothing_of_it_afterwards(host):
    host.animate()
    assert "AnimateDiff" not in host.txt2img(host.body()).infotext


@pytest.mark.parametrize("name", MOVING)
def test_the_infotext_is_inside_every_video(host, name):
    made = host.animate(format=[name])
    assert media.infotext_inside(made.data[0]) == made.infotext


def test_the_infotext_is_inside_every_frame(host):
    made = host.animate()
    assert [media.png_text(data) for data in made.data] == made.info["infotexts"]


@pytest.mark.parametrize("prompt", ['a "cat", (big:1.2)\nin two lines', "一只猫 🐈 ñ", "<b>cat</b> \\( x \\)"])
def test_any_prompt_survives_in_the_files(host, prompt):
    made = host.animate(format=list(MOVING), request={"prompt": prompt})
    for data in made.data:
        assert media.infotext_inside(data) == made.infotext, media.container(data)


def test_without_the_hosts_png_info_no_file_has_an_infotext(host, options):
    options(enable_pnginfo=False)
    made = host.animate(format=list(MOVING))
    assert [media.infotext_inside(data) for data in made.data] == [None] * len(MOVING)


def test_the_request_id_is_in_the_infotext(host):
    assert "request_id: order-66" in host.animate(request_id="order-66").infotext


# files


def test_files_have_the_names_of_the_contract(host, outputs):
    with outputs.added() as new:
        host.animate(format=[*MOVING, "PNG", "TXT"])
    day = datetime.date.today().isoformat()
    files = [path for path in new if not path.endswith((day, "AnimateDiff"))]
    stem = re.match(STEM, files[0])[0]
    frames = [f"{stem}/{number:05}.png" for number in range(host.frames)]
    wanted = [stem, *frames, *(f"{stem}.{ending}" for ending in ("gif", "mp4", "webp", "webm", "txt"))]
    assert sorted(files) == sorted(wanted)
    assert day in stem


def test_no_temporary_files_stay(host, outputs):
    with outputs.added() as new:
        host.animate(format=[*MOVING, "PNG", "TXT"])
    assert not [path for path in new if "/." in path or ".part" in path]


def test_the_infotext_can_be_read_from_every_file(host, outputs):
    with outputs.added() as new:
        made = host.animate(format=[*MOVING, "PNG", "TXT"])
    files = [outputs.folder / path for path in new if re.search(r"/\d{5}-1(\.\w+|/00000\.png)$", path)]
    assert len(files) == 6
    for path in files:
        assert read_infotext(path) == made.infotext, path.name


def test_the_files_are_what_was_answered(host, outputs):
    with outputs.added() as new:
        made = host.animate(format=list(MOVING))
    files = {path.rpartition(".")[2].upper(): outputs.folder / path for path in new if re.search(r"\.\w+$", path)}
    for name, data in zip(MOVING, made.data, strict=True):
        assert files[name].read_bytes() == data


def test_png_frames_on_disk_are_the_frames_answered(host, outputs):
    with outputs.added() as new:
        made = host.animate()
    files = [outputs.folder / path for path in new if path.endswith(".png")]
    assert len(files) == host.frames
    for path, frame in zip(files, made.frames, strict=True):
        assert media.difference(media.pixels(path.read_bytes()), frame) == 0


def test_videos_are_numbered_one_after_the_other(host, outputs):
    with outputs.added() as new:
        host.animate(format=["GIF"], request={"n_iter": 2})
    numbers = [int(re.search(r"/(\d{5})-", path)[1]) for path in new if path.endswith(".gif")]
    assert numbers[1] == numbers[0] + 1


def test_the_request_id_is_in_the_file_names(host, outputs):
    with outputs.added() as new:
        host.animate(format=["GIF"], request_id="order-66")
    assert [path for path in new if path.endswith("-1-order-66.gif")]


def test_a_video_of_the_api_is_saved_though_images_are_not(host, outputs):
    with outputs.added() as new:
        host.txt2img(host.request({"format": ["GIF"]}, save_images=False))
    assert [path for path in new if path.endswith(".gif")]


def test_frames_go_to_the_hosts_own_folder_when_set_so(host, outputs, options):
    options(animatediff_save_to_custom=False)
    with outputs.added() as new:
        host.txt2img(host.request({"format": ["GIF", "PNG"]}, save_images=True))
    pictures = [path for path in new if path.endswith(".png")]
    assert len(pictures) == host.frames
    assert not [path for path in pictures if path.startswith("AnimateDiff")]


def test_without_png_no_frames_are_saved(host, outputs):
    with outputs.added() as new:
        host.txt2img(host.request({"format": ["GIF"]}, save_images=True))
    assert not [path for path in new if path.endswith(".png")]


def test_options_of_the_writers_act(host, options):
    coarse, fine = [], []
    options(animatediff_mp4_crf=51)
    coarse = host.animate(format=["MP4"]).data[0]
    options(animatediff_mp4_crf=0)
    fine = host.animate(format=["MP4"]).data[0]
    assert len(fine) > len(coarse)


def test_a_palette_of_its_own_for_each_gif(host, options):
    plain_gif = host.animate(format=["GIF"]).data[0]
    options(animatediff_optimize_gif_palette=True)
    assert host.animate(format=["GIF"]).data[0] != plain_gif
