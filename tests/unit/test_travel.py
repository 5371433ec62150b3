"""Prompt travel: its grammar, where each frame stands, and how the host's encoded prompts are mixed."""

import math
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_animatediff.errors import RequestError
from lib_animatediff.fields import FIELD
from lib_animatediff.hosts.conds import Travel, conds_of_frames
from lib_animatediff.plan import plan_travel
from lib_animatediff.request import AnimationRequest
from lib_animatediff.timeline.blend import BLENDS, EASINGS, lerp, slerp
from lib_animatediff.timeline.travel import Keyframe, PromptTravel, parse_travel
from tests.unit.test_request import UNHURRIED

Entry = namedtuple("Entry", "end_at_step cond")


def keys(prompt, frames=16, **options):
    travel = parse_travel(prompt, frames, **options)
    return None if travel is None else [(key.start, key.end, key.text) for key in travel.keyframes]


# the grammar


def test_the_incumbents_grammar():
    prompt = "masterpiece, \nbest quality\n0: spring\n8: summer, sea\n12: autumn\nwide shot,\n35mm"
    assert keys(prompt) == [
        (0, 0, "masterpiece, best quality, spring, wide shot, 35mm"),
        (8, 8, "masterpiece, best quality, summer, sea, wide shot, 35mm"),
        (12, 12, "masterpiece, best quality, autumn, wide shot, 35mm"),
    ]


def test_comments_ranges_percentages_and_frames_from_the_end():
    prompt = "# of four seasons\n0: spring\n\n4-6: summer\n8..10: heat\n# later\n73%: autumn\n-2..-1: winter"
    assert keys(prompt) == [(0, 0, "spring"), (4, 6, "summer"), (8, 10, "heat"), (11, 11, "autumn"), (14, 15, "winter")]


def test_keyframes_may_stand_in_any_order():
    assert keys("8: b\n0: a") == [(0, 0, "a"), (8, 8, "b")]


@pytest.mark.parametrize("line", ["0:foo", "0 : foo", "  0:   foo  ", "0%: foo", "0-0:foo"])
def test_what_is_nearly_a_keyframe_is_one(line):
    assert keys(line) == [(0, 0, "foo")]


def test_a_keyframe_without_text_is_head_and_tail():
    assert keys("a house\n0:\n8: in snow") == [(0, 0, "a house"), (8, 8, "a house, in snow")]


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "a cat",
        "a cat\na dog",
        "16:9 photo",
        "12:30 in the afternoon\nrain",
        "[a:b:0.5]",
        "(a:1.2)\n(b:0.8)",
        "a 0: b",
    ],
)
def test_an_ordinary_prompt_stays_one(prompt):
    assert keys(prompt) is None


@pytest.mark.parametrize(
    ("prompt", "named", "cure"),
    [
        ("0: a\n16: b", "line 2, '16: b'", "0 to 15"),
        ("0: a\n-17: b", "line 2", "0 to 15"),
        ("0: a\n101%: b", "line 2", "0 to 15"),
        ("8-4: a", "line 1", "backwards"),
        ("0: a\n0: b", "line 2", "already"),
        ("0-8: a\n8: b", "line 2", "already"),
        ("0: a\nnight\n8: b", "line 2, 'night'", "between two keyframes"),
        ("16:9 photo\n0: a", "line 1, '16:9 photo'", "space behind the colon"),
        ("0: a\n8: <lora:x:1> b", "line 2", "<lora:x:1>"),
    ],
)
def test_a_keyframe_that_cannot_be_meant_is_refused(prompt, named, cure):
    with pytest.raises(RequestError) as refusal:
        parse_travel(prompt, 16, field="negative_prompt")
    assert refusal.value.field == "negative_prompt"
    assert named in str(refusal.value)
    assert cure in str(refusal.value)


def test_a_lora_above_the_keyframes_or_in_the_first_acts_on_all():
    assert keys("<lora:x:1>, a\n0: b\n8: c")
    assert keys("0: <lora:x:1> b\n8: c")


@UNHURRIED
@given(st.text(st.sampled_from("0158-.%: a#<\n"), max_size=40), st.integers(1, 40))
def test_any_text_is_understood_or_refused_by_name(text, frames):
    try:
        travel = parse_travel(text, frames)
    except RequestError:
        return
    if travel is not None:
        assert len(travel.prompts()) == frames
        assert all(0 <= key.start <= key.end < frames for key in travel.keyframes)


# where each frame stands


@st.composite
def travels(draw):
    frames = draw(st.integers(1, 60))
    starts = sorted(draw(st.sets(st.integers(0, frames - 1), min_size=1, max_size=6)))
    found = []
    for i, start in enumerate(starts):
        last = (starts[i + 1] if i + 1 < len(starts) else frames) - 1
        found.append(Keyframe(start, draw(st.integers(start, last)), f"k{start}"))
    return PromptTravel(tuple(found), frames, draw(st.booleans()))


@UNHURRIED
@given(travels())
def test_each_frame_is_on_its_way(travel):
    starts = {key.start for key in travel.keyframes}
    ends = {key.start: key.end for key in travel.keyframes}
    for frame in range(travel.frames):
        left, right, share = travel.mix(frame)
        assert {left, right} <= starts
        assert 0 <= share < 1
        if any(key.start <= frame <= key.end for key in travel.keyframes):
            assert (left, share) == (max(start for start in starts if start <= frame), 0)
        elif left != right:
            # the defining equation: as far behind the left keyframe as the share says
            way = (right - ends[left]) % travel.frames
            assert math.isclose((frame - ends[left]) % travel.frames, share * way)
        else:
            assert share == 0


def test_the_way_around_the_end_is_taken_only_when_the_loop_is_closed():
    found = (Keyframe(2, 2, "a"), Keyframe(6, 6, "b"))
    loop, line = PromptTravel(found, 10, True), PromptTravel(found, 10, False)
    assert [loop.mix(i) for i in (4, 8, 0)] == [(2, 6, 0.5), (6, 2, 2 / 6), (6, 2, 4 / 6)]
    assert [line.mix(i) for i in (4, 8, 0)] == [(2, 6, 0.5), (6, 6, 0), (2, 2, 0)]
    assert loop.prompts() == ["a"] * 6 + ["b"] * 4


def test_one_keyframe_in_a_closed_loop_is_the_same_everywhere():
    travel = PromptTravel((Keyframe(3, 3, "a"),), 8, True)
    assert {travel.mix(i)[:2] for i in range(8)} == {(3, 3)}


# how things are mixed


def test_the_table_names_every_way():
    assert FIELD["prompt_interpolation"].choices == tuple(BLENDS)
    assert FIELD["prompt_easing"].choices == tuple(EASINGS)


@UNHURRIED
@given(st.floats(0, 1))
def test_easings_go_from_0_to_1_without_turning_back(t):
    for name, ease in EASINGS.items():
        if name == "step":
            assert ease(t) == 0
            continue
        assert (ease(0), ease(1)) == (0, 1)
        assert 0 <= ease(t) <= 1
        assert ease(t) <= ease(min(1, t + 0.01)) + 1e-12
    assert math.isclose(EASINGS["ease-out"](t), 1 - EASINGS["ease-in"](1 - t), abs_tol=1e-12)
    assert math.isclose(EASINGS["ease-in-out"](t), 1 - EASINGS["ease-in-out"](1 - t), abs_tol=1e-12)


@UNHURRIED
@given(st.integers(0, 1000), st.floats(0, 1))
def test_slerp_turns_at_an_even_speed(seed, share):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in "ab")
    a, b = a / a.norm(), b / b.norm()
    mixed = slerp(a, b, share)
    whole = math.acos(float((a * b).sum()))
    assert math.isclose(float(mixed.norm()), 1, abs_tol=1e-12)
    assert math.isclose(math.acos(min(1, float((a * mixed).sum()))), share * whole, abs_tol=1e-6)
    torch.testing.assert_close(slerp(a, b, 0.0), a, rtol=0, atol=1e-12)
    torch.testing.assert_close(slerp(a, b, 1.0), b, rtol=0, atol=1e-12)


def test_slerp_of_what_has_no_angle_is_linear():
    a = torch.ones(4, 3)
    for b in (a * 2, torch.zeros(4, 3), -a):
        torch.testing.assert_close(slerp(a, b, 0.25), lerp(a, b, 0.25))
    assert slerp(a.half(), torch.randn(4, 3).half(), 0.5).dtype == torch.float16


# the host's encoded prompts


def schedule(*entries):
    return [Entry(end, torch.as_tensor(cond, dtype=torch.float64)) for end, cond in entries]


def part(entries, weight=1.0):
    return SimpleNamespace(schedules=entries, weight=weight)


def rows(*values):
    return [[float(v)] * 3 for v in values]


def multicond(*batch):
    return SimpleNamespace(batch=list(batch), shape=(len(batch),))


def straight(travel, negative=None):
    return Travel(travel, negative, lerp, EASINGS["linear"])


TRAVEL = PromptTravel((Keyframe(0, 0, "a"), Keyframe(2, 2, "b")), 3, False)


def test_frames_between_two_keyframes_are_mixed():
    a, b = [part(schedule((9, rows(0, 0))))], [part(schedule((9, rows(4, 8))), weight=2.0)]
    cond = multicond(a, a, b)
    mixed, uncond = straight(TRAVEL).conds_of_frames(cond, None, [2, 1, 0])
    assert uncond is None
    assert mixed.shape == (3,)
    assert mixed.batch[0] is b
    assert mixed.batch[2] is a
    [between] = mixed.batch[1]
    assert between.weight == 1.5
    assert between.schedules[0].cond.tolist() == rows(2, 4)
    assert cond.batch[1] is a, "the host's own are not changed"


def test_prompt_editing_goes_on_between_keyframes():
    a = [part(schedule((3, rows(0)), (9, rows(10))))]
    b = [part(schedule((6, rows(100)), (9, rows(200))))]
    mixed, _ = straight(TRAVEL).conds_of_frames(multicond(a, a, b), None, [1])
    [between] = mixed.batch[0]
    assert [(entry.end_at_step, entry.cond[0, 0].item()) for entry in between.schedules] == [(3, 50), (6, 55), (9, 105)]


def test_prompts_of_unequal_length_are_lengthened_by_their_last_token():
    a, b = [part(schedule((9, rows(0, 2))))], [part(schedule((9, rows(4, 4, 4, 4))))]
    mixed, _ = straight(TRAVEL).conds_of_frames(multicond(a, a, b), None, [1])
    assert mixed.batch[0][0].schedules[0].cond.tolist() == rows(2, 3, 3, 3)


def test_dicts_of_sdxl_are_mixed_entry_by_entry():
    class Shaped(dict):
        pass

    def sdxl(value):
        return Shaped(crossattn=torch.full((2, 3), float(value)), vector=torch.full((5,), value * 10.0))

    a, b = [part([Entry(9, sdxl(0))])], [part([Entry(9, sdxl(2))])]
    mixed, _ = straight(TRAVEL).conds_of_frames(multicond(a, a, b), None, [1])
    cond = mixed.batch[0][0].schedules[0].cond
    assert isinstance(cond, Shaped)
    assert (cond["crossattn"].unique().item(), cond["vector"].unique().item()) == (1, 10)


def test_a_travelling_negative_has_one_length_everywhere():
    negative = [schedule((9, rows(0))), schedule((9, rows(0))), schedule((9, rows(4, 8)))]
    cond = multicond(*[[part(schedule((9, rows(1))))]] * 3)
    _, uncond = straight(None, TRAVEL).conds_of_frames(cond, negative, [0, 1, 2])
    assert [entry[0].cond.tolist() for entry in uncond] == [rows(0, 0), rows(2, 4), rows(4, 8)]


def test_without_keyframes_nothing_is_mixed():
    a = [part(schedule((9, rows(0))))]
    cond, uncond = multicond(a, a, a), [schedule((9, rows(0)))] * 3
    travelled, plain = straight(None).conds_of_frames(cond, uncond, [1, 2]), conds_of_frames(cond, uncond, [1, 2])
    assert (travelled[0].batch, travelled[1]) == (plain[0].batch, plain[1])


def test_the_request_says_how():
    request = AnimationRequest.from_mapping(
        {"video_length": 32, "closed_loop": "A", "prompt_interpolation": "lerp", "prompt_easing": "step"}
    )
    travel = plan_travel(request, "0: a\n8: b", "bad")
    assert (travel.blend, travel.easing(0.9), travel.prompt.wraps, travel.negative) == (lerp, 0, True, None)
    assert plan_travel(request, "a", "b") is None
    one_window = request.replace(video_length=16)
    assert not plan_travel(one_window, "0: a\n8: b", "").prompt.wraps, "one window swings back instead"
    with pytest.raises(RequestError, match="hr_prompt"):
        plan_travel(request, "99: a", "", ("hr_prompt", "hr_negative_prompt"))
