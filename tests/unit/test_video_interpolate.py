"""Frames between frames: how many, where the given ones are, and that things move."""

import sys

import numpy as np
import pytest
from PIL import Image

from lib_animatediff.errors import UnsupportedError, VideoWriteError
from lib_animatediff.video.interpolate import flow_between, interpolate


def texture(shift=0.0, size=(96, 64)):
    """A smooth pattern that lies ``shift`` pixels to the right."""
    rows, columns = np.mgrid[: size[1], : size[0]].astype(float)
    columns = columns - shift
    values = [
        np.sin(columns / 5 + rows / 9) + np.cos(rows / 6),
        np.sin(columns / 7) + np.sin(rows / 4),
        np.cos(columns / 4 - rows / 8),
    ]
    return Image.fromarray(np.stack([(127 + 50 * value) for value in values], -1).clip(0, 255).astype(np.uint8))


def difference(one, other, border=12):
    one, other = (np.asarray(image, float)[border:-border, border:-border] for image in (one, other))
    return np.abs(one - other).mean()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("factor", [1, 2, 3, 10])
def test_how_many_and_where_the_given_ones_are(count, factor):
    frames = [texture(3.0 * number) for number in range(count)]
    copies = [frame.tobytes() for frame in frames]
    made = list(interpolate(frames, factor))
    assert len(made) == (count - 1) * factor + 1
    assert [frame.tobytes() for frame in made[::factor]] == copies
    assert all(made[number * factor] is frame for number, frame in enumerate(frames))
    assert {frame.size for frame in made} == {(96, 64)}


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("shift", [2.0, 5.0])
def test_the_frame_between_lies_between(t, shift):
    start, end = texture(0), texture(shift)
    between = flow_between()(start, end, t)
    truth = texture(shift * t)
    blend = Image.blend(start, end, t)
    assert difference(between, truth) < 0.6 * difference(blend, truth)
    assert difference(between, truth) < 3


def test_equal_frames_stay_equal():
    frame = texture()
    made = list(interpolate([frame, frame.copy()], 4))
    assert all(np.abs(np.asarray(between, int) - np.asarray(frame, int)).max() <= 1 for between in made)


def test_something_that_appears_fades_in():
    black, white = Image.new("RGB", (64, 64)), Image.new("RGB", (64, 64), "white")
    levels = [np.asarray(frame, float).mean() for frame in interpolate([black, white], 4)]
    assert levels == sorted(levels)
    assert levels[2] == pytest.approx(127.5, abs=2)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (8, 8), (15, 40), (16, 16), (17, 33), (97, 61)])
def test_any_size(size):
    frames = [texture(0, size), texture(1, size)]
    made = list(interpolate(frames, 2))
    assert len(made) == 3
    assert made[1].size == size


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_any_mode(mode):
    frames = [texture(0).convert(mode), texture(1).convert(mode)]
    made = list(interpolate(frames, 2))
    assert [frame.mode for frame in made] == [mode, "RGB", mode]


def test_frames_are_streamed():
    given_out = []

    def source():
        for number in range(50):
            given_out.append(number)
            yield texture(number)

    made = interpolate(source(), 3)
    for _ in range(7):
        next(made)
    # Frames 0 to 6 need the given frames 0, 1 and 2.
    assert given_out == [0, 1, 2]


def test_another_method_is_asked_for_each_frame_between():
    calls = []

    def middle(one, other, t):
        calls.append((one.info["n"], other.info["n"], t))
        return Image.blend(one, other, t)

    frames = [texture(number) for number in range(3)]
    for number, frame in enumerate(frames):
        frame.info["n"] = number
    made = list(interpolate(frames, 4, middle))
    assert len(made) == 9
    assert calls == [(a, a + 1, t) for a in (0, 1) for t in (0.25, 0.5, 0.75)]


@pytest.mark.parametrize(("factor", "method"), [(1, "Flow"), (5, "Off")])
def test_nothing_asked_nothing_done(monkeypatch, factor, method):
    monkeypatch.setitem(sys.modules, "cv2", None)
    frames = [texture(), texture(1)]
    made = list(interpolate(iter(frames), factor, method))
    assert len(made) == 2
    assert all(one is other for one, other in zip(made, frames, strict=True))


def test_no_frames():
    assert list(interpolate([], 4)) == []


def test_refusals(monkeypatch):
    with pytest.raises(ValueError, match="Choose 1 or more"):
        interpolate([], 0)
    with pytest.raises(ValueError, match="Choose Off or Flow"):
        interpolate([], 2, "RIFE")
    with pytest.raises(VideoWriteError, match="Frame 1 is 32x32"):
        list(interpolate([texture(), texture(size=(32, 32))], 2))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UnsupportedError, match="pip install opencv-python-headless"):
        interpolate([texture()], 2)
