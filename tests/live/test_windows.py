"""Frames beyond the context length."""

import re

import pytest

from tests.live import media

# frames, context, overlap, stride
SIZES = [(8, 4, 1, 1), (8, 4, -1, 1), (7, 4, 3, 1), (5, 4, 0, 1), (9, 3, 2, 2), (8, 2, 1, 3), (3, 1, 0, 1)]


@pytest.mark.parametrize("word", ["N", "R-P", "R+P", "A"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_windows_without_motion_are_one_window(host, probe, word, size):
    frames, context, overlap, stride = size
    off = {"motion": "off"}
    one = host.animate(probe=off, video_length=frames, batch_size=frames, closed_loop="N").frames
    made = host.animate(
        probe=off, video_length=frames, batch_size=context, overlap=overlap, stride=stride, closed_loop=word
    )
    assert len(made.data) == frames
    assert media.difference(one, made.frames) <= 1
    assert max(host.seen()["rows"]) <= 2 * context


@pytest.mark.parametrize("word", ["N", "R-P", "R+P", "A"])
def test_windows_with_motion_denoise_every_frame(host, word):
    made = host.animate(video_length=8, batch_size=4, overlap=1, closed_loop=word, request={"steps": 4})
    spread = made.frames.reshape(8, -1).std(axis=1)
    assert spread.min() > 0.5 * spread.max()


def test_each_step_computes_each_window_once(host, probe):
    host.animate(probe={}, video_length=8, batch_size=4, overlap=0, closed_loop="N")
    assert len(host.seen()["rows"]) >= 2 * host.steps


def test_v1_in_windows(host, modules):
    made = host.animate(model=modules.v1, video_length=8, batch_size=4, overlap=2)
    assert len(made.data) == 8


def test_a_context_longer_than_the_position_table_is_refused(host):
    answer = host.try_animate(video_length=40, batch_size=40)
    assert answer.status == 422
    assert "32" in answer.error() or "24" in answer.error()


def test_windows_and_batch_cond_uncond_off(host, options):
    size = {"video_length": 6, "batch_size": 4, "overlap": 2}
    together = host.animate(**size).frames
    options(batch_cond_uncond=False)
    assert media.difference(host.animate(**size).frames, together) <= 1


def test_a_closed_loop_of_one_window_swings_back(host):
    made = host.animate(video_length=4, batch_size=4, closed_loop="A", format=["GIF"])
    assert media.facts(made.data[0]).frames == 6


def test_a_closed_loop_of_windows_is_not_doubled(host):
    made = host.animate(video_length=6, batch_size=4, closed_loop="A", format=["GIF"])
    assert media.facts(made.data[0]).frames == 6


# schedules, fuse weights, noise


@pytest.mark.parametrize("schedule", ["static", "batched", "shuffled", "shuffled 50%, uniform"])
def test_schedules_without_motion_are_one_window(host, probe, schedule):
    off = {"motion": "off"}
    one = host.animate(probe=off, video_length=7, batch_size=7).frames
    made = host.animate(probe=off, video_length=7, batch_size=4, overlap=1, context_schedule=schedule)
    assert media.difference(one, made.frames) <= 1
    rows = host.seen()["rows"]
    if schedule == "batched":
        assert rows == [8, 6] * host.steps
    assert re.search(rf"context_schedule: \W*{schedule}", made.infotext)


@pytest.mark.parametrize("fuse", ["pyramid", "flat", "relative", "overlap-linear", "gauss", "saw-tooth"])
def test_fuse_weights_without_motion_are_one_window(host, probe, fuse):
    off = {"motion": "off"}
    one = host.animate(probe=off, video_length=7, batch_size=7).frames
    made = host.animate(probe=off, video_length=7, batch_size=4, overlap=2, context_fuse=fuse).frames
    assert media.difference(one, made) <= 1


def test_shared_noise_makes_frames_alike(host, probe):
    frames = host.animate(probe={"motion": "off"}, initial_noise="shared").frames
    assert media.difference(frames[1:], frames[:-1]) <= 1
    own = host.animate(probe={"motion": "off"}).frames
    assert media.difference(frames[:1], own[:1]) <= 1
    assert media.difference(frames[1:], own[1:]) > 1


def test_repeated_and_free_noise_show_the_first_context_again(host, probe):
    wanted = {"video_length": 8, "batch_size": 4, "overlap": 0}
    off = {"motion": "off"}
    repeated = host.animate(probe=off, initial_noise="repeated", **wanted).frames
    assert media.difference(repeated[:4], repeated[4:]) <= 1
    free = host.animate(probe=off, initial_noise="FreeNoise", **wanted).frames
    for frame in free[4:]:
        assert min(media.difference(frame, other) for other in free[:4]) <= 1
    assert media.difference(free, host.animate(probe=off, initial_noise="FreeNoise", **wanted).frames) == 0


def test_mixed_noise_in_both_passes(host):
    request = {
        "enable_hr": True, "hr_upscaler": "Latent", "hr_scale": 2, "hr_second_pass_steps": 2, "denoising_strength": 0.7,
    }  # fmt: skip
    made = host.animate(initial_noise="mixed", request=request)
    assert made.frames.shape == (host.frames, 2 * host.size, 2 * host.size, 3)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("context_schedule", "shuffled, uniform", ["context_schedule", "shuffled 10%"]),
        ("context_fuse", "pyramids", ["context_fuse", "Did you mean pyramid"]),
        ("initial_noise", "free", ["initial_noise", "FreeNoise"]),
    ],
)
def test_words_that_are_not_known_are_refused(host, field, value, words):
    answer = host.try_animate(**{field: value})
    assert answer.status != 200
    assert all(word in answer.error() for word in words), answer.error()
