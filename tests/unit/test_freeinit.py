"""FreeInit against its formulas, written out slowly."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_animatediff.errors import RequestError
from lib_animatediff.noise.freeinit import FILTER_KINDS, diffuse_to_end, low_pass_filter, mix_frequencies

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 10), st.integers(1, 10))
EVEN_SHAPES = SHAPES.map(lambda shape: tuple(2 * n for n in shape))
STOPS = st.floats(0.02, 1.0)
KINDS = st.sampled_from(FILTER_KINDS)
AXES = (0, 2, 3)


def clip(shape, seed, dtype=torch.float64):
    frames, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, 4, height, width, generator=generator, dtype=torch.float64).to(dtype)


def paper_filter(shape, kind, d_s, d_t):
    """The filter as the paper's code has it, one frequency at a time, for even sizes."""
    frames, height, width = shape
    kept = torch.zeros(shape, dtype=torch.float64)
    for t in range(frames):
        for h in range(height):
            for w in range(width):
                d2 = ((d_s / d_t) * (2 * t / frames - 1)) ** 2 + (2 * h / height - 1) ** 2 + (2 * w / width - 1) ** 2
                if kind == "butterworth":
                    kept[t, h, w] = 1 / (1 + (d2 / d_s**2) ** 4)
                elif kind == "gaussian":
                    kept[t, h, w] = math.exp(-d2 / (2 * d_s**2))
                elif kind == "ideal":
                    kept[t, h, w] = 0.5 if abs(d2 - d_s**2) < 1e-7 * d_s**2 else float(d2 <= d_s**2)
                else:
                    near = abs(h - height // 2) <= round(height // 2 * d_s)
                    near = near and abs(w - width // 2) <= round(width // 2 * d_s)
                    kept[t, h, w] = float(near and abs(t - frames // 2) <= round(frames // 2 * d_t))
    return kept


@settings(deadline=None, max_examples=60)
@given(EVEN_SHAPES, KINDS, STOPS, STOPS)
def test_filters_follow_the_formula(shape, kind, d_s, d_t):
    expected = paper_filter(shape, kind, d_s, d_t)
    actual = low_pass_filter(shape, kind, d_s, d_t, dtype=torch.float64)
    on_the_border = expected == 0.5 if kind == "ideal" else torch.zeros(shape, dtype=torch.bool)
    assert torch.allclose(actual[~on_the_border], expected[~on_the_border], rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(SHAPES, KINDS, STOPS, STOPS)
def test_filters_are_symmetric_shares_that_fall_with_frequency(shape, kind, d_s, d_t):
    kept = low_pass_filter(shape, kind, d_s, d_t)
    assert kept.shape == shape
    assert kept.dtype == torch.float32
    assert kept.min() >= 0
    assert kept.max() <= 1
    assert kept[tuple(n // 2 for n in shape)] == 1
    unshifted = torch.fft.ifftshift(kept)
    negative = unshifted.flip((0, 1, 2)).roll((1, 1, 1), (0, 1, 2))
    assert torch.equal(unshifted, negative)
    for axis, n in enumerate(shape):
        rising = kept.narrow(axis, n // 2, n - n // 2)
        assert (rising.diff(dim=axis) <= 0).all()


@settings(deadline=None)
@given(SHAPES)
def test_zero_frequency_lies_where_the_transform_has_it(shape):
    for axis, n in enumerate(shape):
        kept = low_pass_filter(shape, "gaussian", 0.3, 0.3, dtype=torch.float64)
        line = kept.movedim(axis, 0)[(slice(None), *[m // 2 for i, m in enumerate(shape) if i != axis])]
        frequency = 2 * torch.fft.fftshift(torch.fft.fftfreq(n, dtype=torch.float64))
        assert torch.allclose(line, torch.exp(-(frequency**2) / (2 * 0.3**2)), atol=1e-12)


def test_the_ideal_filter_has_the_radius_it_says():
    kept = low_pass_filter((1, 64, 64), "ideal", 0.25, 0.25)[0]
    inside = [(h, w) for h in range(-32, 32) for w in range(-32, 32) if h * h + w * w <= 8 * 8]
    assert kept.sum() == len(inside) == 197
    assert kept[32, 40] == 1
    assert kept[32, 41] == 0


def test_a_whole_box_keeps_everything_and_a_stop_of_zero_nothing():
    for shape in ((16, 8, 8), (15, 7, 9)):
        assert low_pass_filter(shape, "box", 1.0, 1.0).min() == 1
        for kind in FILTER_KINDS:
            assert low_pass_filter(shape, kind, 0.0, 0.25).max() == 0
            assert low_pass_filter(shape, kind, 0.25, 0.0).max() == 0


def test_order_sharpens_the_butterworth_filter():
    soft = low_pass_filter((8, 16, 16), "butterworth", 0.4, 0.4, order=1)
    sharp = low_pass_filter((8, 16, 16), "butterworth", 0.4, 0.4, order=8)
    assert sharp[4, 8, 9] > soft[4, 8, 9]
    assert sharp[4, 8, 15] < soft[4, 8, 15]


@pytest.mark.parametrize(
    ("field", "kind", "d_s", "d_t"),
    [
        ("freeinit_filter", "butterwort", 0.25, 0.25),
        ("freeinit_ds", "gaussian", -0.1, 0.25),
        ("freeinit_dt", "gaussian", 0.25, float("inf")),
        ("freeinit_dt", "ideal", 0.25, float("nan")),
    ],
)
def test_bad_filters_are_named(field, kind, d_s, d_t):
    with pytest.raises(RequestError) as caught:
        low_pass_filter((4, 4, 4), kind, d_s, d_t)
    assert caught.value.field == field


@settings(deadline=None)
@given(SHAPES, KINDS, STOPS, STOPS)
def test_mixing_follows_the_formula_and_is_real(shape, kind, d_s, d_t):
    low, high = clip(shape, 1), clip(shape, 2)
    kept = low_pass_filter(shape, kind, d_s, d_t, dtype=torch.float64)
    share = kept[:, None]
    low_part = torch.fft.fftshift(torch.fft.fftn(low, dim=AXES), dim=AXES) * share
    high_part = torch.fft.fftshift(torch.fft.fftn(high, dim=AXES), dim=AXES) * (1 - share)
    expected = torch.fft.ifftn(torch.fft.ifftshift(low_part + high_part, dim=AXES), dim=AXES)
    assert expected.imag.abs().max() < 1e-12
    assert torch.allclose(mix_frequencies(low, high, kept), expected.real, atol=1e-12)


@settings(deadline=None)
@given(SHAPES, KINDS, STOPS, STOPS, st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_mixing_a_clip_with_itself_changes_nothing(shape, kind, d_s, d_t, dtype):
    x = clip(shape, 3, dtype)
    mixed = mix_frequencies(x, x, low_pass_filter(shape, kind, d_s, d_t))
    assert mixed.dtype == dtype
    assert torch.equal(mixed, x)


def test_the_limits_of_mixing():
    shape = (6, 8, 10)
    low, high = clip(shape, 1), clip(shape, 2)
    assert torch.equal(mix_frequencies(low, high, torch.zeros(shape)), high)
    assert torch.allclose(mix_frequencies(low, high, torch.ones(shape)), low, atol=1e-12)
    dc_only = low_pass_filter(shape, "ideal", 0.01, 0.01)
    assert torch.allclose(mix_frequencies(low, 0 * high, dc_only), low.mean(AXES, keepdim=True).expand_as(low))


@settings(deadline=None)
@given(SHAPES, st.sampled_from(["ideal", "box"]), STOPS, STOPS)
def test_a_sharp_filter_splits_the_energy(shape, kind, d_s, d_t):
    x, zero = clip(shape, 4), torch.zeros(shape[0], 4, *shape[1:], dtype=torch.float64)
    kept = low_pass_filter(shape, kind, d_s, d_t, dtype=torch.float64)
    slow, fast = mix_frequencies(x, zero, kept), mix_frequencies(zero, x, kept)
    assert torch.allclose(slow + fast, x, atol=1e-12)
    assert torch.allclose((slow**2).sum() + (fast**2).sum(), (x**2).sum())


def test_slow_motion_stays_and_flicker_is_drawn_anew():
    time = torch.arange(16, dtype=torch.float64)[:, None, None, None]
    slow = torch.cos(2 * math.pi * time / 16).expand(16, 4, 8, 8)
    flicker = torch.cos(math.pi * time).expand(16, 4, 8, 8)
    fresh = clip((16, 8, 8), 5)
    kept = low_pass_filter((16, 8, 8), "ideal", 0.25, 0.25, dtype=torch.float64)
    assert torch.allclose(mix_frequencies(slow + flicker, fresh, kept) - mix_frequencies(0 * slow, fresh, kept), slow)


def test_every_channel_is_mixed_alone():
    low, high = clip((4, 6, 6), 1), clip((4, 6, 6), 2)
    kept = low_pass_filter((4, 6, 6), "butterworth", 0.4, 0.4, dtype=torch.float64)
    together = mix_frequencies(low, high, kept)
    for channel in range(4):
        alone = mix_frequencies(low[:, channel : channel + 1], high[:, channel : channel + 1], kept)
        assert torch.allclose(together[:, channel : channel + 1], alone, atol=1e-13)


@settings(deadline=None)
@given(st.floats(1e-4, 1.0))
def test_diffusing_to_the_end_is_k_diffusions_noise_at_sigma_max(alpha_bar):
    clean, noise = clip((2, 3, 3), 6), clip((2, 3, 3), 7)
    sigma = math.sqrt((1 - alpha_bar) / alpha_bar)
    diffused = diffuse_to_end(clean, noise, alpha_bar)
    assert torch.allclose(diffused * math.sqrt(1 + sigma**2), clean + sigma * noise)


def test_diffusing_with_zero_terminal_snr_is_the_noise_alone():
    clean, noise = clip((2, 3, 3), 6), clip((2, 3, 3), 7)
    assert torch.equal(diffuse_to_end(clean, noise, 0.0), noise)
    assert torch.equal(diffuse_to_end(clean, noise, 1.0), clean)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="alpha_bar_T"):
            diffuse_to_end(clean, noise, wrong)
