"""Schedules of context windows and their changes from step to step."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_animatediff.fields import FIELD
from lib_animatediff.timeline.fuse import FUSE_KINDS, WeightedMean, fuse_weights
from lib_animatediff.timeline.picture import curve_picture, windows_picture
from lib_animatediff.timeline.schedules import SCHEDULES, Phase, parse_schedule, windows_at
from lib_animatediff.timeline.windows import CLOSED_LOOP_WORDS, context_windows
from tests.unit.test_request import UNHURRIED

STEPS = 40


@st.composite
def cases(draw, schedules=SCHEDULES):
    context = draw(st.integers(1, 64))
    return {
        "phases": (Phase(draw(st.sampled_from(schedules)), 1.0),),
        "frames": draw(st.integers(1, 1200)),
        "context": context,
        "stride": draw(st.integers(1, 4)),
        "overlap": draw(st.integers(0, context - 1)),
        "closed_loop": draw(st.sampled_from(CLOSED_LOOP_WORDS)),
    }


def at(case, step, total=STEPS):
    return windows_at(case["phases"], step, total, **{name: case[name] for name in case if name != "phases"})


@UNHURRIED
@given(cases(), st.integers(0, STEPS - 1))
def test_every_frame_is_covered_once_a_window(case, step):
    windows = at(case, step)
    assert set(itertools.chain.from_iterable(windows)) == set(range(case["frames"]))
    for window in windows:
        assert len(set(window)) == len(window) <= case["context"]
        if case["phases"][0].schedule != "batched":
            assert len(window) == min(case["context"], case["frames"])


@UNHURRIED
@given(cases(), st.integers(0, STEPS - 1), st.sampled_from(FUSE_KINDS))
def test_a_constant_signal_comes_out_unchanged(case, step, kind):
    signal = torch.full((case["frames"], 1), 0.1)
    mean = WeightedMean(signal)
    for window in at(case, step):
        weights = fuse_weights(len(window), kind, case["overlap"])
        assert min(weights) > 0
        mean.add(window, signal[window], weights)
    assert torch.equal(mean.result(), signal)


def test_static_is_the_first_step_of_uniform():
    case = {"frames": 40, "context": 16, "stride": 1, "overlap": 4, "closed_loop": "N"}
    static = parse_schedule("static")
    for step in range(8):
        assert windows_at(static, step, 8, **case) == context_windows(0, 40, 16, 1, 4, "N")
    assert [window[0] for window in windows_at(static, 3, 8, **case)] == [0, 12, 24]


@UNHURRIED
@given(cases(("batched",)), st.integers(0, STEPS - 1))
def test_batched_is_a_row_of_pieces_of_nearly_the_same_length(case, step):
    windows = at(case, step)
    assert list(itertools.chain.from_iterable(windows)) == list(range(case["frames"]))
    assert len(windows) == -(-case["frames"] // case["context"])
    assert max(map(len, windows)) - min(map(len, windows)) <= 1


def test_shuffled_is_another_one_at_each_step_and_the_same_at_each_run():
    case = {"phases": parse_schedule("shuffled"), "frames": 40, "context": 16, "stride": 1, "overlap": 4}
    case["closed_loop"] = "N"
    steps = [at(case, step) for step in range(8)]
    assert len({str(windows) for windows in steps}) == 8
    assert steps == [at(case, step) for step in range(8)]
    assert all(window == sorted(window) for windows in steps for window in windows)


def test_schedules_follow_one_another():
    phases = parse_schedule("Shuffled 10%,  static 50 %, uniform")
    assert phases == (Phase("shuffled", 0.1), Phase("static", 0.5), Phase("uniform", 1.0))
    case = {"phases": phases, "frames": 40, "context": 16, "stride": 1, "overlap": 4, "closed_loop": "R-P"}
    for step in range(20):
        name = "shuffled" if step < 2 else "static" if step < 10 else "uniform"
        assert at(case, step, 20) == at({**case, "phases": parse_schedule(name)}, step, 20)
    assert parse_schedule("batched 100%") == (Phase("batched", 1.0),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no schedule"),
        ("unifrom", "'unifrom' is no schedule"),
        ("uniform,", "does not say where it ends"),
        ("shuffled, uniform", "Write 'shuffled 10%'"),
        ("shuffled 10%", "steps behind"),
        ("shuffled 50%, static 20%, uniform", "'static 20%' does not end behind"),
        ("shuffled 0%, uniform", "does not end behind"),
        ("shuffled 110%, uniform", "after 100%"),
        ("shuffled -5%, uniform", "no schedule"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_schedule(text)


def test_the_table_names_every_schedule():
    assert FIELD["context_schedule"].choices == SCHEDULES
    assert FIELD["context_schedule"].parse(" shuffled 10%, uniform ") == "shuffled 10%, uniform"


def test_the_picture_has_a_bar_for_each_window_and_two_for_one_that_runs_around_the_end():
    def windows(step, total):
        return [[0, 1, 2, 3], [6, 7, 0, 1]] if step == 0 else [[4, 5, 6, 7]]

    picture = windows_picture(windows, 8)
    assert picture.count("<rect") == 3 + 1
    assert ">1<" in picture
    assert ">2-20<" in picture
    assert picture.startswith("<svg")
    many = windows_picture(lambda step, total: [[i] for i in range(1000)], 1000)
    assert many.count("<rect") == 1000, "the first step is always shown, and no more of so many"


def test_the_picture_of_a_curve_has_a_point_for_each_frame():
    picture = curve_picture("<x>", [1.0, 1.5, 0.5], 0, 2)
    points = picture.split('points="')[1].split('"')[0].split()
    assert [float(point.split(",")[0]) for point in points] == [34, 256, 478]
    heights = [float(point.split(",")[1]) for point in points]
    assert heights == [22, 13, 31], "0 is at the bottom, 2 at the top"
    assert "&lt;x&gt;" in picture
    assert ">2<" in picture
    assert ">0<" in picture
    assert ">5<" in curve_picture("<x>", [1.0, 5.0], 0, 2)
    assert curve_picture("<x>", [1.0], 0, 2).count(",") == 2
