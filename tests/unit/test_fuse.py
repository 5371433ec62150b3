"""Averaging the results of overlapping windows."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_animatediff.fields import FIELD
from lib_animatediff.timeline.fuse import FUSE_KINDS, WeightedMean, fuse_weights
from lib_animatediff.timeline.windows import context_windows

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def random_frames(frames, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, 2, 3, 1, generator=generator, dtype=torch.float64).to(dtype)


def bits(tensor):
    return tensor.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()])


def test_known_weights():
    assert fuse_weights(8, "overlap-linear", 3) == [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]
    assert fuse_weights(8, "overlap-linear") == [1] * 8
    assert fuse_weights(8, "saw-tooth") == [0.01, 0.01, 0.01, 4, 4, 3, 2, 1]
    assert fuse_weights(7, "saw-tooth") == [0.01, 0.01, 0.01, 4, 3, 2, 1]
    assert fuse_weights(5, "relative") == [0.01, 0.5, 1, 0.5, 0.01]
    assert fuse_weights(5, "gauss")[2] == 1
    assert fuse_weights(5, "gauss")[0] == pytest.approx(math.exp(-0.5 * (2 / 1.25) ** 2))
    assert fuse_weights(6) == [1, 2, 3, 3, 2, 1]
    assert fuse_weights(5, "pyramid") == [1, 2, 3, 2, 1]
    assert fuse_weights(1) == [1]
    assert fuse_weights(4, "flat") == [1, 1, 1, 1]


@settings(deadline=None)
@given(length=st.integers(1, 300), kind=st.sampled_from(FUSE_KINDS), overlap=st.integers(0, 300))
def test_weights_are_positive_and_symmetric(length, kind, overlap):
    weights = fuse_weights(length, kind, overlap)
    assert len(weights) == length
    assert min(weights) > 0
    assert weights == weights[::-1] or kind == "saw-tooth"


@given(length=st.integers(2, 64), data=st.data())
def test_overlap_linear_fades_from_one_window_into_the_next(length, data):
    overlap = data.draw(st.integers(0, length // 2))
    weights = fuse_weights(length, "overlap-linear", overlap)
    for out, into in zip(weights[length - overlap :], weights[:overlap], strict=True):
        assert out + into == pytest.approx(1)


def test_the_table_names_every_kind():
    assert FIELD["context_fuse"].choices == FUSE_KINDS


def test_unknown_weights_are_refused():
    with pytest.raises(ValueError, match="pyramid"):
        fuse_weights(16, "pyramids")
    with pytest.raises(ValueError, match="window of 0"):
        fuse_weights(0)


@st.composite
def schedules(draw):
    frames, context = draw(st.integers(1, 60)), draw(st.integers(1, 24))
    overlap = draw(st.integers(0, context - 1))
    word = draw(st.sampled_from(["N", "R-P", "A"]))
    return frames, context_windows(draw(st.integers(0, 40)), frames, context, draw(st.integers(1, 4)), overlap, word)


@settings(deadline=None)
@given(schedules(), st.sampled_from(FUSE_KINDS), st.sampled_from(DTYPES))
def test_frames_on_which_all_windows_agree_come_back_bit_for_bit(schedule, kind, dtype):
    frames, windows = schedule
    x = random_frames(frames, dtype)
    mean = WeightedMean(x)
    for window in windows:
        mean.add(window, x[window], fuse_weights(len(window), kind))
    assert mean.result().dtype == dtype
    assert torch.equal(mean.result(), x)


@settings(deadline=None)
@given(schedules(), st.sampled_from(FUSE_KINDS), st.sampled_from(DTYPES))
def test_the_result_is_the_weighted_mean(schedule, kind, dtype):
    frames, windows = schedule
    mean = WeightedMean(torch.empty(frames, 2, 3, 1, dtype=dtype))
    total = torch.zeros(frames, 2, 3, 1, dtype=torch.float64)
    weight = torch.zeros(frames, 1, 1, 1, dtype=torch.float64)
    for number, window in enumerate(windows):
        values = random_frames(len(window), dtype, seed=number)
        weights = fuse_weights(len(window), kind)
        mean.add(window, values, weights)
        for place, frame in enumerate(window):
            total[frame] += values[place].double() * weights[place]
            weight[frame] += weights[place]
    # half precision is rounded once, at the end: half a unit in the last place, and float32's error before that
    error = (mean.result().double() - total / weight).abs()
    last_place = {torch.float16: 2**-11, torch.bfloat16: 2**-8, torch.float32: 2**-20, torch.float64: 2**-48}[dtype]
    assert (error <= (total / weight).abs() * last_place + 2**-20 * (1 if dtype != torch.float64 else 2**-28)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_frame_of_one_window_keeps_every_bit(dtype):
    first, second = random_frames(4, dtype, 1), random_frames(4, dtype, 2)
    second[2:, :, 0] = -0.0
    first[0, 0, 0] = float("inf")
    mean = WeightedMean(torch.empty(6, 2, 3, 1, dtype=dtype))
    mean.add([0, 1, 2, 3], first, fuse_weights(4))
    mean.add([2, 3, 4, 5], second, fuse_weights(4))
    assert torch.equal(bits(mean.result()[:2]), bits(first[:2]))
    assert torch.equal(bits(mean.result()[4:]), bits(second[2:]))


def test_values_of_another_place_do_not_leak():
    mean = WeightedMean(torch.zeros(3, 1))
    mean.add([0, 1], torch.tensor([[1.0], [2.0]]), [1, 1])
    mean.add([2, 1], torch.tensor([[9.0], [8.0]]), [1, 3])
    assert mean.result().flatten().tolist() == [1.0, 6.5, 9.0]


def test_the_inputs_stay_as_they_are():
    x = random_frames(4)
    before = x.clone()
    mean = WeightedMean(x)
    mean.add([0, 1, 2, 3], x, fuse_weights(4))
    mean.add([0, 1, 2, 3], x + 1, fuse_weights(4))
    assert torch.equal(x, before)


def test_a_frame_without_a_window_is_an_error_and_not_a_black_picture():
    mean = WeightedMean(torch.zeros(4, 1))
    mean.add([0, 2], torch.ones(2, 1), [1, 1])
    with pytest.raises(ValueError, match=r"\[1, 3\]"):
        mean.result()


@pytest.mark.parametrize(
    ("indices", "rows", "weights", "says"),
    [
        ([0, 1, 0], 3, [1, 1, 1], "twice"),
        ([0, 1], 3, [1, 1], "do not match"),
        ([0, 1], 2, [1], "do not match"),
        ([0, 1], 2, [1, 0], "positive"),
        ([0, 1], 2, [-1, 1], "positive"),
    ],
)
def test_windows_that_cannot_be_averaged_are_refused(indices, rows, weights, says):
    with pytest.raises(ValueError, match=says):
        WeightedMean(torch.zeros(4, 1)).add(indices, torch.zeros(rows, 1), weights)
