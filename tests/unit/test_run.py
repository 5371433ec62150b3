"""One sampling pass on a host of a few lines: windows, what the denoiser is left with, faults, refiner, FreeInit."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lib_animatediff.errors import AnimateDiffError
from lib_animatediff.hosts.clip_order import clip_order
from lib_animatediff.plan import AnimationPlan, FreeInitPlan
from lib_animatediff.run import sample_animated, sample_animated_img2img
from lib_animatediff.timeline.fuse import fuse_weights
from lib_animatediff.timeline.windows import context_windows

from .fake_unet import FakeMotionModel, FakeUNet

STEPS = 3


class Interrupted(BaseException):
    """As the hosts' own: no Exception."""


class Denoiser(nn.Module):
    """The part of CFGDenoiser that a run touches; the model is a UNet that looks at one row at a time."""

    def __init__(self, unet, sampler):
        super().__init__()
        vars(self)["unet"], vars(self)["sampler"] = unet, sampler
        self.inner_model = nn.Identity()
        self.step, self.total_steps, self.init_latent, self.mask = 0, 4, None, None
        self.need_last_noise_uncond, self.last_noise_uncond = False, None
        self.calls, self.fail_at = [], None

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        self.calls.append((self.step, [round(float(s)) for s in sigma.flatten()], len(cond.batch), len(uncond)))
        if self.fail_at is not None and len(self.calls) == self.fail_at[0]:
            raise self.fail_at[1]
        assert len(x) == len(sigma) == len(cond.batch) == len(uncond) == len(image_cond)
        if self.init_latent is not None:
            assert len(self.init_latent) == len(x)
        text = torch.stack([parts[0] for parts in cond.batch])
        denoised = x * 0.5 + text.view(-1, 1, 1, 1) + 1e-3 * self.unet(x)
        self.sampler.last_latent = denoised * 2
        if self.need_last_noise_uncond:
            self.last_noise_uncond = denoised * 3
        self.step += 1
        return denoised


class Sampler:
    def __init__(self, unet, frames):
        self.model_wrap_cfg = Denoiser(unet, self)
        self.last_latent = None
        self.cond = SimpleNamespace(batch=[[torch.tensor(float(i)).double()] for i in range(frames)], shape=(frames,))
        self.frames = frames

    def sample(self, p, x, **kwargs):
        denoiser = self.model_wrap_cfg
        denoiser.step, self.last_latent = 0, x
        try:
            for _ in range(STEPS):
                extra = {"cond": self.cond, "uncond": [0] * self.frames, "cond_scale": 7, "s_min_uncond": 0}
                extra["image_cond"] = torch.zeros(self.frames, 5, 1, 1)
                x = denoiser(x, torch.arange(self.frames).float(), **extra)
        except Interrupted:
            return self.last_latent
        return x


class Host:
    """Counts what is opened and closed."""

    def __init__(self, unet):
        self.unet_now, self.open_schedules, self.previews, self.stop = unet, 0, 0, False
        self.swap_at, self.checked = None, 0

    def unet(self, p):
        return self.unet_now

    def check(self, p):
        self.checked += 1

    @contextmanager
    def _schedule(self):
        self.open_schedules += 1
        try:
            yield self
        finally:
            self.open_schedules -= 1

    def noise_schedule(self, p, sampler, table):
        assert table.shape == (1000,)
        return self._schedule()

    def room(self, p, motion_model, window):
        return self._schedule()

    def check_conds(self, cond):
        assert len(cond.batch)

    def window(self, p, frames):
        return self._schedule()

    def clip_order(self, sampler):
        return clip_order(sampler.model_wrap_cfg)

    def follow_refiner(self, p, sampler, x, sigma, schedule):
        if self.swap_at is None or sampler.model_wrap_cfg.step != self.swap_at[0]:
            return None
        self.unet_now = self.swap_at[1]
        vars(sampler.model_wrap_cfg)["unet"] = self.swap_at[1]
        self.swap_at = None
        return sampler.cond, [0] * sampler.frames

    def interrupted(self):
        return self.stop

    def preview(self, latents):
        self.previews += 1

    def noise_gain(self, p, sampler):
        return 1.0


def plan(frames, *, context=None, overlap=1, model=None, free_init=None, loop="N"):
    model = model or FakeMotionModel()
    for module in model.slots.values():
        module.share.data.zero_()  # motion off: windows then must make no difference
    return AnimationPlan(
        frames,
        context or frames,
        lambda step, _: context_windows(step, frames, context or frames, 1, overlap if context else 0, loop),
        lambda window: fuse_weights(len(window)),
        model,
        torch.linspace(0.99, 0.01, 1000),
        free_init,
    )


@pytest.fixture
def scene():
    torch.manual_seed(0)
    unet = FakeUNet().double().requires_grad_(False)
    return unet, Host(unet), torch.randn(9, 4, 4, 4, dtype=torch.float64)


def snapshot(unet, sampler):
    denoiser = sampler.model_wrap_cfg
    return (
        {name: len(m._forward_hooks) for name, m in unet.named_modules()},
        {name: sorted(vars(m)) for name, m in unet.named_modules()},
        sorted(vars(denoiser)),
        sorted(vars(sampler)),
    )


@pytest.mark.parametrize("loop", ["N", "R-P", "R+P", "A"])
def test_windows_make_no_difference_without_motion(scene, loop):
    unet, host, x = scene
    whole, windowed = Sampler(unet, 9), Sampler(unet, 9)
    for sampler in (whole, windowed):
        sampler.model_wrap_cfg.need_last_noise_uncond = True
        sampler.model_wrap_cfg.init_latent = x.clone()
    a = sample_animated(host, plan(9), None, whole, whole.sample, x)
    b = sample_animated(host, plan(9, context=4, loop=loop), None, windowed, windowed.sample, x)
    torch.testing.assert_close(b, a, rtol=0, atol=1e-12)
    torch.testing.assert_close(windowed.last_latent, whole.last_latent, rtol=0, atol=1e-12)
    noise = [s.model_wrap_cfg.last_noise_uncond for s in (windowed, whole)]
    torch.testing.assert_close(*noise, rtol=0, atol=1e-12)
    assert windowed.model_wrap_cfg.step == whole.model_wrap_cfg.step == STEPS
    assert {step for step, *_ in windowed.model_wrap_cfg.calls} == {0, 1, 2}, "every window of a step sees that step"
    assert torch.equal(windowed.model_wrap_cfg.init_latent, x)
    assert host.previews == STEPS


def test_one_window_is_the_hosts_own_call(scene):
    unet, host, x = scene
    plain, animated = Sampler(unet, 9), Sampler(unet, 9)
    assert torch.equal(
        sample_animated(host, plan(9), None, animated, animated.sample, x),
        plain.sample(None, x),
    )


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
@pytest.mark.parametrize("context", [None, 4])
def test_a_fault_leaves_nothing_behind(scene, error, context):
    unet, host, x = scene
    sampler = Sampler(unet, 9)
    before = snapshot(unet, sampler)
    sampler.model_wrap_cfg.fail_at = (2, error)
    with pytest.raises(type(error)):
        sample_animated(host, plan(9, context=context), None, sampler, sampler.sample, x)
    assert snapshot(unet, sampler) == before
    assert host.open_schedules == 0


def test_a_model_that_does_not_fit_leaves_nothing_behind(scene):
    unet, host, x = scene
    sampler = Sampler(unet, 9)
    before = snapshot(unet, sampler)
    wrong = plan(9, model=FakeMotionModel(widths=(32, 64, 128, 128)))
    with pytest.raises(AnimateDiffError):
        sample_animated(host, wrong, None, sampler, sampler.sample, x)
    assert snapshot(unet, sampler) == before
    assert host.open_schedules == 0


def test_an_interrupt_inside_the_windows_returns_all_frames_of_the_step_before(scene):
    unet, host, x = scene
    sampler = Sampler(unet, 9)
    calls_a_step = len(context_windows(0, 9, 4, 1, 1, "N"))
    sampler.model_wrap_cfg.fail_at = (calls_a_step + 2, Interrupted())
    result = sample_animated(host, plan(9, context=4), None, sampler, sampler.sample, x)
    assert result.shape == x.shape
    one_step = Sampler(unet, 9)
    one_step.model_wrap_cfg.fail_at = (2, Interrupted())
    torch.testing.assert_close(result, one_step.sample(None, x), rtol=0, atol=1e-12)


def test_another_batch_size_is_an_error_for_the_user(scene):
    unet, host, x = scene
    sampler = Sampler(unet, 9)
    with pytest.raises(AnimateDiffError, match="asked for 8 frames and the host samples 9"):
        sample_animated(host, plan(8), None, sampler, sampler.sample, x)


def test_the_refiner_gets_the_motion_model_and_the_first_unet_loses_it(scene):
    unet, host, x = scene
    refiner = FakeUNet().double().requires_grad_(False)
    sampler, model = Sampler(unet, 9), FakeMotionModel()
    before = snapshot(unet, sampler)[:2]
    hooked = []

    def hooks(of):
        return sum(len(m._forward_hooks) for m in of.modules())

    original = sampler.model_wrap_cfg.forward
    vars(sampler.model_wrap_cfg)["forward"] = lambda *a, **k: (
        hooked.append((hooks(unet), hooks(refiner))),
        original(*a, **k),
    )[1]
    host.swap_at = (1, refiner)
    sample_animated(host, plan(9, model=model), None, sampler, sampler.sample, x)
    assert hooked == [(21, 0), (0, 21), (0, 21)]
    assert snapshot(unet, sampler)[:2] == before
    assert hooks(refiner) == 0
    assert host.open_schedules == 0
    assert host.checked == 2


def test_free_init_samples_anew_from_the_low_frequencies_of_the_result(scene):
    unet, host, x = scene
    started_from = []
    sampler = Sampler(unet, 9)

    def sample(p, noise):
        started_from.append(noise)
        return sampler.sample(p, noise)

    generator = torch.Generator().manual_seed(1)
    rng = SimpleNamespace(next=lambda: torch.randn(x.shape, generator=generator, dtype=torch.float64))
    free_init = FreeInitPlan(3, "butterworth", 0.25, 0.25)
    sample_animated(host, plan(9, free_init=free_init), SimpleNamespace(rng=rng), sampler, sample, x)
    assert len(started_from) == 3
    assert torch.equal(started_from[0], x)
    assert not torch.equal(started_from[1], x)
    assert len({float(noise.sum()) for noise in started_from}) == 3, "the high frequencies are fresh each time"


def test_free_inits_fast_passes_grow_to_the_whole_number_of_steps(scene):
    unet, host, x = scene
    of_passes: list = []

    def sample(p, *args, steps=None):
        of_passes.append(steps)
        return x

    p = SimpleNamespace(rng=SimpleNamespace(next=lambda: torch.randn_like(x)), steps=20)
    for run, inputs in ((sample_animated, [x]), (sample_animated_img2img, [x, torch.randn_like(x)])):
        for fast, of_request, wanted in ((True, None, [5, 10, 15, 20]), (True, 6, [1, 3, 4, 6]), (False, 6, [6] * 4)):
            of_passes.clear()
            free_init = FreeInitPlan(4, "gaussian", 0.25, 0.25, fast)
            steps = {} if of_request is None else {"steps": of_request}
            run(host, plan(9, free_init=free_init), p, Sampler(unet, 9), sample, *inputs, **steps)
            assert of_passes == wanted
    assert FreeInitPlan(4, "box", 1, 1, True).steps_of_pass(0, 2) == 1


def test_free_init_stops_when_the_user_does(scene):
    unet, host, x = scene
    host.stop = True
    sampler, calls = Sampler(unet, 9), []
    plan_3 = plan(9, free_init=FreeInitPlan(3, "gaussian", 0.25, 0.25))
    sample_animated(host, plan_3, None, sampler, lambda p, noise: calls.append(1) or noise, x)
    assert len(calls) == 1


def test_free_init_in_img2img_mixes_images_and_noises_apart(scene):
    """With everything passed (d_s and d_t at their widest box) the start is the result under the first noise."""
    unet, host, x = scene
    noise, starts = torch.randn_like(x), []
    sampler = Sampler(unet, 9)

    def sample(p, image, noise):
        starts.append((image, noise))
        return image + 0.25

    p = SimpleNamespace(rng=SimpleNamespace(next=lambda: torch.randn_like(x)))
    everything = plan(9, free_init=FreeInitPlan(2, "box", 1.0, 1.0))
    sample_animated_img2img(host, everything, p, sampler, sample, x, noise)
    assert len(starts) == 2
    assert torch.equal(starts[0][0], x)
    torch.testing.assert_close(starts[1][0], x + 0.25)
    torch.testing.assert_close(starts[1][1], noise)
