"""Pillow opens movies of ours, and no other."""

import io
import sys

import pytest
from PIL import Image, UnidentifiedImageError

from lib_animatediff.video import opener
from lib_animatediff.video.write import write_animation
from tests.unit.test_video_metadata import PLAIN


@pytest.fixture
def registered():
    opener.register()
    opener.register()
    yield
    opener.unregister()
    opener.unregister()
    assert "ANIMATEDIFF MOVIE" not in [*Image.ID, *Image.OPEN]


def movie(folder, name, infotext=PLAIN):
    pictures = [Image.new("RGB", (32, 16), colour) for colour in ("red", "green", "blue")]
    (result,) = write_animation(pictures, folder / "a", [name], fps=8, infotext=infotext)
    return result.path


@pytest.mark.parametrize("name", ["MP4", "WEBM"])
def test_a_movie_of_ours_opens_as_its_first_frame(registered, tmp_path, name):
    path = movie(tmp_path, name)
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        with Image.open(source) as image:
            assert image.size == (32, 16)
            red, green, blue = image.convert("RGB").getpixel((16, 8))
            assert red > 200
            assert max(green, blue) < 60
            assert image.info["parameters"] == PLAIN


@pytest.mark.parametrize("name", ["MP4", "WEBM"])
def test_other_movies_stay_what_they_were_to_pillow(registered, tmp_path, name):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(movie(tmp_path, name).read_bytes()[:200])
    foreign = movie(tmp_path, name, infotext="a film by somebody")
    for path in (foreign, damaged):
        with pytest.raises(UnidentifiedImageError):
            Image.open(path)


def test_without_pyav_nothing_changes(registered, tmp_path, monkeypatch):
    path = movie(tmp_path, "MP4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnidentifiedImageError):
        Image.open(path)


def test_pictures_are_opened_by_pillow_itself(registered, tmp_path):
    for name in ("a.png", "a.gif", "a.webp", "a.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.format is not None
