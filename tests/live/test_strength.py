"""How much motion there is in each frame, and contexts longer than the motion module's positions."""

import pytest

from tests.live import media


def test_no_effect_is_the_animation_without_motion(host, probe):
    off = host.animate(probe={"motion": "off"}).frames
    assert media.difference(host.animate(motion_effect="0").frames, off) <= 1
    assert media.difference(host.animate().frames, off) > 1


def test_the_effect_may_change_along_the_way(host, probe):
    off, on = host.animate(probe={"motion": "off"}).frames, host.animate().frames
    made = host.animate(motion_effect="0:0, -1:1").frames
    assert media.difference(made[:1], off[:1]) <= 1
    assert media.difference(made[-1:], off[-1:]) > 0
    assert media.difference(made, on) > 0


@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
def test_the_scale_changes_the_motion(host, modules, family):
    plain = host.animate(model=modules[family]).frames
    assert media.difference(host.animate(model=modules[family], motion_scale=1.0).frames, plain) == 0
    assert media.difference(host.animate(model=modules[family], motion_scale="0:1, -1:8").frames, plain) > 0


def test_the_scale_goes_with_the_frames_through_the_windows(host, probe):
    wanted = {"video_length": 8, "batch_size": 4, "overlap": 1, "closed_loop": "A"}
    made = host.animate(motion_scale="0:1, -1:3", **wanted)
    assert len(made.frames) == 8
    assert 'motion_scale: \\"0:1, -1:3\\"' in made.infotext


@pytest.mark.parametrize("positions", ["stretched", "sweet spot"])
def test_a_context_may_be_longer_than_the_positions(host, modules, positions):
    frames = 25  # v1 knows 24
    long = {"model": modules.v1, "video_length": frames, "batch_size": frames}
    refused = host.try_animate(**long)
    assert refused.status != 200
    assert "positions: stretched" in refused.error()
    assert len(host.animate(**long, positions=positions, request={"steps": 1}).frames) == frames


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"motion_scale": "0:1, 4:2"}, ["Motion scale (motion_scale)", "frame 4", "0 to 3"]),
        ({"motion_scale": "11"}, ["motion_scale", "0 to 10"]),
        ({"motion_effect": "a lot"}, ["motion_effect", "a lot"]),
    ],
)
def test_a_curve_that_cannot_be_is_refused(host, fields, words):
    answer = host.try_animate(**fields)
    assert answer.status != 200
    assert all(word in answer.error() for word in words), answer.error()
