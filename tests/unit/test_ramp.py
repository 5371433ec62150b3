"""Image to video: how the first and the last image fade."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_animatediff.errors import RequestError
from lib_animatediff.noise.ramp import blend_first_last, image_ramp

FRAMES = st.integers(1, 80)
POWERS = st.floats(0.1, 10)
SCALES = st.floats(1, 128)


def latents(frames, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, 4, 2, 3, generator=generator, dtype=torch.float64).to(dtype)


def shares(frames, *, with_last=True, **ramps):
    """(alpha, beta, share of noise) per frame, read off by blending the three unit signals."""
    one, zero = torch.ones(frames, 1, 1, 1, dtype=torch.float64), torch.zeros(frames, 1, 1, 1, dtype=torch.float64)
    signals = [(one, zero, zero), (zero, one, zero), (zero, zero, one)]
    return [
        blend_first_last(init, last if with_last else None, noise, **ramps).flatten() for init, last, noise in signals
    ]


def written_out(frames, power, scale, power_last, scale_last):
    alphas, betas = [], []
    for i in range(frames):
        alpha = max(0, 1 - i**power / scale)
        beta = max(0, 1 - (frames - 1 - i) ** power_last / scale_last)
        if alpha + beta > 1:
            alpha, beta = alpha / (alpha + beta), beta / (alpha + beta)
        alphas.append(alpha)
        betas.append(beta)
    alphas[-1], betas[-1] = 0, 1
    alphas[0], betas[0] = 1, 0
    return torch.tensor(alphas, dtype=torch.float64), torch.tensor(betas, dtype=torch.float64)


@settings(deadline=None)
@given(FRAMES, POWERS, SCALES)
def test_the_first_ramp(frames, power, scale):
    expected = torch.tensor([max(0, 1 - i**power / scale) for i in range(frames)], dtype=torch.float64)
    assert torch.allclose(image_ramp(frames, power, scale), expected, atol=1e-12)
    init, noise = latents(frames, 1), latents(frames, 2)
    blended = blend_first_last(init, None, noise, power=power, scale=scale, power_last=1, scale_last=32)
    share = expected.view(-1, 1, 1, 1)
    assert torch.allclose(blended, share * init + (1 - share) * noise, atol=1e-10)


@settings(deadline=None)
@given(FRAMES, POWERS, SCALES, POWERS, SCALES)
def test_both_ramps(frames, power, scale, power_last, scale_last):
    alpha, beta = written_out(frames, power, scale, power_last, scale_last)
    ramps = {"power": power, "scale": scale, "power_last": power_last, "scale_last": scale_last}
    actual_alpha, actual_beta, actual_noise = shares(frames, **ramps)
    assert torch.allclose(actual_alpha, alpha, atol=1e-10)
    assert torch.allclose(actual_beta, beta, atol=1e-10)
    assert torch.allclose(actual_noise, 1 - alpha - beta, atol=1e-10)
    assert min(actual_alpha.min(), actual_beta.min(), actual_noise.min()) >= 0


def test_the_default_ramp_of_sixteen_frames():
    ramps = {"power": 1.0, "scale": 32.0, "power_last": 1.0, "scale_last": 32.0}
    alpha, beta, noise = shares(16, with_last=False, **ramps)
    assert alpha.tolist() == [1 - i / 32 for i in range(16)]
    assert beta.abs().max() == 0
    assert noise.tolist() == [i / 32 for i in range(16)]
    alpha, beta, noise = shares(16, **ramps)
    assert torch.allclose(alpha, beta.flip(0))
    assert noise.abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_ends_are_the_images_to_the_bit(dtype):
    init, last, noise = (latents(5, seed, dtype) for seed in (1, 2, 3))
    blended = blend_first_last(init, last, noise, power=0.7, scale=3, power_last=2, scale_last=9)
    assert blended.dtype == dtype
    assert torch.equal(blended[0], init[0])
    assert torch.equal(blended[-1], last[-1])


def test_one_image_serves_all_frames():
    init, last, noise = latents(1, 1), latents(1, 2), latents(7, 3)
    ramps = {"power": 1, "scale": 4, "power_last": 1, "scale_last": 2}
    expected = blend_first_last(init.expand(7, -1, -1, -1), last.expand(7, -1, -1, -1), noise, **ramps)
    assert torch.equal(blend_first_last(init, last, noise, **ramps), expected)


def test_a_single_frame_is_the_first_image():
    init, last, noise = latents(1, 1), latents(1, 2), latents(1, 3)
    ramps = {"power": 1, "scale": 32, "power_last": 1, "scale_last": 32}
    assert torch.equal(blend_first_last(init, last, noise, **ramps), init)
    assert torch.equal(blend_first_last(init, None, noise, **ramps), init)


def test_a_ramp_too_steep_for_floats_is_noise_after_the_first_frame():
    init, noise = latents(200, 1), latents(200, 2)
    blended = blend_first_last(init, None, noise, power=500.0, scale=0.5, power_last=1, scale_last=1)
    assert torch.equal(blended[0], init[0])
    assert torch.equal(blended[1:], noise[1:])


@pytest.mark.parametrize("name", ["power", "scale", "power_last", "scale_last"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_bad_numbers_are_named(name, value):
    ramps = {"power": 1, "scale": 32, "power_last": 1, "scale_last": 32}
    x = latents(4, 1)
    with pytest.raises(RequestError) as caught:
        blend_first_last(x, x, x, **ramps | {name: value})
    assert caught.value.field == f"latent_{name}"
