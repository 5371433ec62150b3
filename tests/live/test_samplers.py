"""Every sampler and schedule of the host (plain images unchanged, windows right)."""

import numpy as np
import pytest

from tests.live import media
from tests.live.conftest import SAMPLERS

# UniPC refuses fewer steps than its order, with or without motion.
STEPS = 4
SCHEDULERS = (
    "Automatic",
    "Uniform",
    "Karras",
    "Exponential",
    "Polyexponential",
    "SGM Uniform",
    "KL Optimal",
    "Align Your Steps",
    "Simple",
    "Normal",
    "DDIM",
    "Beta",
)


def test_every_sampler_and_schedule_type_the_host_lists_is_tried_here(host):
    assert set(host.samplers()) <= set(SAMPLERS)
    assert set(host.schedulers()) <= set(SCHEDULERS)


def test_plain_images_of_each_sampler_are_the_same_before_and_after_its_animation(host, sampler):
    request = {"sampler_name": sampler, "steps": STEPS}
    before = host.plain(**request)
    made = host.animate(request=request)
    assert len(made.data) == host.frames
    assert made.frames.std() > 1
    assert media.difference(host.plain(**request), before) == 0


def test_motion_that_does_nothing_is_the_plain_batch_of_each_sampler(host, probe, sampler):
    request = {"sampler_name": sampler, "steps": STEPS}
    still = host.plain(batch_size=host.frames, **request)
    made = host.animate(probe={"motion": "off", "schedule": "host"}, request=request)
    assert media.difference(made.frames, still) == 0


def test_windows_of_frames_that_do_not_see_each_other_are_one_window(host, probe, sampler):
    request = {"sampler_name": sampler, "steps": STEPS}
    off = {"motion": "off"}
    one = host.animate(probe=off, request=request, video_length=6, batch_size=6).frames
    windows = host.animate(probe=off, request=request, video_length=6, batch_size=4, overlap=2).frames
    assert max(host.seen()["rows"]) <= 8
    assert media.difference(one, windows) <= 1


def test_windows_with_motion_give_every_frame(host, sampler):
    request = {"sampler_name": sampler, "steps": STEPS}
    made = host.animate(request=request, video_length=6, batch_size=4, overlap=1)
    assert len(made.data) == 6
    assert made.frames.reshape(6, -1).std(axis=1).min() > 1


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_each_schedule_type(host, scheduler):
    if scheduler not in host.schedulers():
        pytest.skip(f"the host does not list {scheduler}")
    request = {"sampler_name": "DPM++ 2M", "scheduler": scheduler, "steps": 4}
    before = host.plain(**request)
    made = host.animate(request=request)
    assert len(made.data) == host.frames
    assert np.isfinite(made.frames).all()
    assert media.difference(host.plain(**request), before) == 0


def test_schedule_types_make_a_difference(host):
    frames = [host.animate(request={"scheduler": name, "steps": 4}).frames for name in ("Karras", "Exponential")]
    assert media.difference(*frames) > 0


@pytest.mark.parametrize("name", ["Euler", "DDIM"])
def test_zero_terminal_snr_acts_on_the_motion_schedule(host, options, name):
    request = {"sampler_name": name, "steps": 4}
    without = host.animate(request=request).frames
    options(sd_noise_schedule="Zero Terminal SNR")
    before = host.plain(**request)
    made = host.animate(request=request)
    assert media.difference(made.frames, without) > 0
    assert media.difference(host.plain(**request), before) == 0
    assert "Noise Schedule: Zero Terminal SNR" in made.infotext


def test_downcast_alphas(host, options):
    options(use_downcasted_alpha_bar=True)
    before = host.plain()
    assert len(host.animate().data) == host.frames
    assert media.difference(host.plain(), before) == 0
