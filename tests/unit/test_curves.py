"""Values that change along an animation."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_animatediff.errors import RequestError
from lib_animatediff.fields import FIELD
from lib_animatediff.plan import plan_curve
from lib_animatediff.request import AnimationRequest
from lib_animatediff.timeline.curves import parse_curve
from tests.unit.test_request import UNHURRIED


def test_known_curves():
    assert parse_curve("1.3").values(3) == [1.3] * 3
    assert parse_curve("0:1, 4:2").values(7) == [1, 1.25, 1.5, 1.75, 2, 2, 2]
    assert parse_curve("-1:0; 50%: 1").values(5) == [1, 1, 1, 0.5, 0]
    assert parse_curve(" 2 : .5,\n1:1e-1, ").values(4) == [0.1, 0.1, 0.5, 0.5]
    assert parse_curve("3:2").values(4) == [2] * 4


@UNHURRIED
@given(st.dictionaries(st.integers(0, 49), st.floats(-5, 5), min_size=1), st.integers(50, 90))
def test_curves_are_straight_lines_between_their_keys(keys, frames):
    text = ", ".join(f"{frame}: {value!r}" for frame, value in keys.items())
    values = parse_curve(text).values(frames)
    assert len(values) == frames
    for frame, value in keys.items():
        assert math.isclose(values[frame], value, abs_tol=1e-12)
    places = sorted(keys)
    for frame in range(frames):
        left = max((p for p in places if p <= frame), default=places[0])
        right = min((p for p in places if p >= frame), default=places[-1])
        share = (frame - left) / (right - left) if right != left else 0
        if left <= frame <= right:
            wanted = keys[left] * (1 - share) + keys[right] * share
        else:
            wanted = keys[places[0]] if frame < places[0] else keys[places[-1]]
        assert math.isclose(values[frame], wanted, abs_tol=1e-9)


@pytest.mark.parametrize(
    "text", ["", "a", "0", "0:", ":1", "0:1 2:3", "0-3: 1", "0:1:2", "1,5", "101%x: 1", "0:nan", "1e999"]
)
def test_what_is_no_curve_is_refused_by_name(text):
    if text == "0":
        assert parse_curve(text).values(1) == [0]
        return
    with pytest.raises(ValueError, match=r"Write a number|too large"):
        parse_curve(text)


@pytest.mark.parametrize(("text", "words"), [("9:1", "0 to 3"), ("-5:1", "0 to 3"), ("0:1, 0%:2", "two values")])
def test_a_key_outside_the_animation_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_curve(text).values(4)


def test_fields_are_curves_within_their_bounds():
    field = FIELD["motion_scale"]
    assert field.parse(1.5) == "1.5"
    assert field.parse(" 0:1, 8:2 ") == "0:1, 8:2"
    for bad in ("11", "0:1, 8:-1", 10.5, True, [1], "fast"):
        with pytest.raises(RequestError, match="motion_scale"):
            field.parse(bad)
    request = AnimationRequest.from_mapping({"enable": True, "video_length": 4, "motion_scale": "0:1, 3:4"})
    assert torch.equal(plan_curve(request, "motion_scale"), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert plan_curve(request, "motion_effect") is None
    with pytest.raises(RequestError, match="motion_effect"):
        plan_curve(request.replace(motion_effect="4:1"), "motion_effect")
