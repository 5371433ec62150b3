"""Context windows: what every user relies on, for any setting that can be typed."""

import itertools
import math

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lib_animatediff.errors import RequestError
from lib_animatediff.timeline.windows import CLOSED_LOOP_WORDS, context_windows, ordered_halving

RINGS = ("R-P", "R+P", "A")
ANY_STRIDE = st.integers(1, 8)


@st.composite
def settings_of_windows(draw, words=CLOSED_LOOP_WORDS, strides=ANY_STRIDE):
    """(step, frames, context, stride, overlap, closed_loop)"""
    context = draw(st.integers(1, 64))
    return (
        draw(st.integers(0, 64)),
        draw(st.integers(1, 300)),
        context,
        draw(strides),
        draw(st.integers(-1, context - 1)),
        draw(st.sampled_from(words)),
    )


def overlap_of(case):
    _, _, context, _, overlap, _ = case
    return context // 4 if overlap == -1 else overlap


def assert_sound(windows, frames, context):
    assert set(itertools.chain.from_iterable(windows)) == set(range(frames)), "a frame is missing or out of range"
    for window in windows:
        assert len(window) == min(context, frames), "a window that is not full"
        assert len(set(window)) == len(window), "a frame twice in a window"


@settings(deadline=None, max_examples=500)
@given(settings_of_windows())
@example((8, 64, 16, 1, 4, "N"))
@example((4, 28, 16, 1, 4, "N"))
@example((0, 24, 16, 2, 4, "R-P"))
@example((0, 17, 16, 8, 15, "A"))
def test_every_frame_is_covered_by_full_windows_without_repeats(case):
    assert_sound(context_windows(*case), case[1], case[2])


def test_every_small_case_is_sound():
    for frames, context in itertools.product(range(1, 36), (1, 2, 3, 5, 8)):
        cases = itertools.product(range(8), range(1, 5), range(-1, context), ("N", "R-P", "A"))
        for step, stride, overlap, word in cases:
            assert_sound(context_windows(step, frames, context, stride, overlap, word), frames, context)


@settings(deadline=None)
@given(settings_of_windows(words=("N",)))
def test_without_a_loop_no_window_runs_from_the_end_to_the_start(case):
    for window in context_windows(*case):
        assert all(a < b for a, b in itertools.pairwise(window))


@settings(deadline=None)
@given(settings_of_windows(words=("N",), strides=st.just(1)))
def test_without_a_loop_windows_come_in_order_and_none_comes_twice(case):
    starts = [window[0] for window in context_windows(*case)]
    assert all(a < b for a, b in itertools.pairwise(starts))


@settings(deadline=None)
@given(settings_of_windows(strides=st.just(1)))
def test_windows_are_stretches_of_neighbouring_frames_and_overlap(case):
    _, frames, context, _, _, _ = case
    windows = context_windows(*case)
    for window in windows:
        assert all((a + 1) % frames == b for a, b in itertools.pairwise(window))
    for one, next_one in itertools.pairwise(windows):
        assert len(set(one) & set(next_one)) >= min(overlap_of(case), frames)
    if frames <= context:
        assert windows == [list(range(frames))]


@settings(deadline=None)
@given(settings_of_windows(words=("A",), strides=st.just(1)))
def test_a_closed_loop_overlaps_at_the_seam_as_everywhere(case):
    _, frames, context, _, _, _ = case
    windows = context_windows(*case)
    assert len(set(windows[-1]) & set(windows[0])) >= min(overlap_of(case), frames)
    assume(frames > context and overlap_of(case) > 0)
    assert (frames - 1, 0) in {pair for window in windows for pair in itertools.pairwise(window)}


@settings(deadline=None)
@given(settings_of_windows())
def test_dilated_windows_never_overtake_their_own_start(case):
    _, frames, context, stride, _, _ = case
    assume(frames > context > 1)
    for window in context_windows(*case):
        (dilation,) = {(b - a) % frames for a, b in itertools.pairwise(window)}
        assert dilation in [2**i for i in range(stride)]
        assert dilation * (context - 1) < frames


@settings(deadline=None)
@given(settings_of_windows(words=RINGS))
def test_rings_are_the_published_uniform_schedule_without_the_windows_that_repeat_a_frame(case):
    step, frames, context, stride, _, word = case
    overlap = overlap_of(case)
    assume(frames > context > 1)
    halving = int(format(step, "064b")[::-1], 2) / 2**64
    pad = round(frames * halving)
    expected = []
    for level in range(min(stride, math.ceil(math.log2(frames / context)) + 1)):
        dilation = 2**level
        if (context - 1) * dilation + 1 > frames:
            continue
        end = frames + pad - (0 if word == "A" else overlap)
        for start in range(int(halving * dilation) + pad, end, context * dilation - overlap):
            expected.append([(start + i * dilation) % frames for i in range(context)])
    assert context_windows(*case) == expected


def test_known_windows():
    def span(first, last):
        return list(range(first, last + 1))

    assert context_windows(0, 32, 16, 1, 4, "R-P") == [span(0, 15), span(12, 27), span(24, 31) + span(0, 7)]
    assert context_windows(1, 32, 16, 1, 4, "R-P") == [span(16, 31), span(28, 31) + span(0, 11), span(8, 23)]
    assert context_windows(0, 32, 16, 1, 4, "N") == [span(0, 15), span(12, 27), span(16, 31)]
    assert context_windows(1, 32, 16, 1, 4, "N") == [span(0, 15), span(6, 21), span(16, 31)]
    assert context_windows(0, 32, 16, 2, 4, "N")[3:] == [list(range(0, 32, 2)), list(range(1, 32, 2))]
    # 64 = 4 + 5 hops of 12: the reduced ring ends where it began, the closed one overlaps there too
    assert [w[0] for w in context_windows(0, 64, 16, 1, 4, "R-P")] == [0, 12, 24, 36, 48]
    assert [w[0] for w in context_windows(0, 64, 16, 1, 4, "A")] == [0, 12, 24, 36, 48, 60]


@settings(deadline=None)
@given(settings_of_windows())
def test_the_two_reduced_rings_have_the_same_windows(case):
    assert context_windows(*case[:5], "R-P") == context_windows(*case[:5], "R+P")


@settings(deadline=None)
@given(settings_of_windows(strides=st.just(1)))
def test_the_number_of_windows_is_as_documented(case):
    _, frames, context, _, _, word = case
    overlap = overlap_of(case)
    count = len(context_windows(*case))
    if frames <= context:
        assert count == 1
    elif word == "A":
        assert count == math.ceil(frames / (context - overlap))
    else:
        reduced = math.ceil((frames - overlap) / (context - overlap))
        assert count == reduced or (word == "N" and count == reduced + 1)


@settings(deadline=None)
@given(frames=st.integers(2, 64), context=st.integers(1, 63), overlap=st.integers(0, 62))
def test_borders_visit_every_place_over_the_steps(frames, context, overlap):
    assume(overlap < context < frames)
    for word, places in (("N", frames - context + 1), ("R-P", frames), ("A", frames)):
        starts = {w[0] for step in range(64) for w in context_windows(step, frames, context, 1, overlap, word)}
        assert starts == set(range(places))


def test_borders_move_for_lengths_that_are_whole_numbers_of_hops():
    """96 frames are 8 hops of 12: a move by fractions of the animation would be none at all in the first 8 steps."""
    rows = {tuple(w[0] for w in context_windows(step, 96, 16, 1, 4, "N")) for step in range(8)}
    assert len(rows) == 8


def test_ordered_halving():
    assert [ordered_halving(step) for step in range(8)] == [0, 1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8, 3 / 8, 7 / 8]
    assert sorted(ordered_halving(step) for step in range(64)) == [i / 64 for i in range(64)]
    assert 0 <= ordered_halving(2**64 - 1) <= 1


@pytest.mark.parametrize("word", CLOSED_LOOP_WORDS)
def test_extremes(word):
    assert_sound(context_windows(3, 100, 8, 10**9, 2, word), 100, 8)
    assert_sound(context_windows(2**64 - 1, 100, 8, 4, 2, word), 100, 8)
    assert_sound(context_windows(2**70 + 1, 100, 8, 4, 2, word), 100, 8)
    assert_sound(context_windows(5, 1200, 64, 4, 63, word), 1200, 64)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("video_length", {"frames": 0}),
        ("batch_size", {"context": 0}),
        ("stride", {"stride": 0}),
        ("overlap", {"overlap": 16}),
        ("overlap", {"overlap": -2}),
        ("closed_loop", {"closed_loop": "B"}),
    ],
)
def test_what_is_out_of_bounds_is_named(field, change):
    good = {"step": 0, "frames": 32, "context": 16, "stride": 1, "overlap": 4, "closed_loop": "R-P"}
    assert_sound(context_windows(**good), 32, 16)
    with pytest.raises(RequestError) as caught:
        context_windows(**good | change)
    assert caught.value.field == field


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="step -1"):
        context_windows(-1, 32, 16, 1, 4, "N")


@pytest.mark.parametrize("word", CLOSED_LOOP_WORDS)
def test_windows_of_one_frame_are_not_dilated(word):
    assert sorted(context_windows(3, 5, 1, 8, 0, word)) == [[0], [1], [2], [3], [4]]
