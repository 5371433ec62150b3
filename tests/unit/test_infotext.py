"""The infotext's AnimateDiff value, alone and inside the host's quoting."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_animatediff.request import FIELD, AnimationRequest, infotext_value, read_infotext_value
from tests.unit.test_request import UNHURRIED, mappings

NAMES = st.text(st.characters(exclude_categories=["Cc"]), max_size=40)


def through_the_host(value: str) -> str:
    """The host puts values that hold a comma, colon or newline in JSON quotes, and takes them off again."""
    quoted = json.dumps(value, ensure_ascii=False) if set(value) & set(",:\n") else value
    assert "\n" not in quoted
    return json.loads(quoted) if quoted.startswith('"') else quoted


def test_the_value_as_older_readers_know_it():
    request = AnimationRequest.from_mapping({"enable": True, "request_id": "job-7"})
    facts = {"mm_hash": "deadbeef", "version": "0.1.0", "video_length": 16, "overlap": 4}
    assert infotext_value(request, extra=facts) == (
        "model: mm_sd15_v3.safetensors, video_length: 16, fps: 8, loop_number: 0, closed_loop: R-P, batch_size: 16,"
        " stride: 1, overlap: 4, interp: Off, interp_x: 10, freeinit_enable: False, request_id: job-7,"
        " mm_hash: deadbeef, version: 0.1.0"
    )
    assert infotext_value(request, extra=facts, tab="img2img").endswith(
        "mm_hash: deadbeef, latent_power: 1, latent_scale: 32, latent_power_last: 1, latent_scale_last: 32,"
        " version: 0.1.0"
    )


def test_what_is_switched_on_is_written_too():
    request = AnimationRequest.from_mapping({"freeinit_enable": True, "use_main_seed": True, "freeinit_iters": 4})
    text = infotext_value(request)
    assert text.endswith(
        "freeinit_enable: True, freeinit_filter: butterworth, freeinit_ds: 0.25, freeinit_dt: 0.25, freeinit_iters: 4,"
        " use_main_seed: True"
    )
    plain = infotext_value(AnimationRequest.from_mapping({}))
    assert "freeinit_ds" not in plain
    assert "use_main_seed" not in plain
    assert "prompt_" not in plain
    travelling = infotext_value(AnimationRequest.from_mapping({"prompt_easing": "step"}))
    assert travelling.endswith("prompt_easing: step")


@UNHURRIED
@given(mappings(), st.sampled_from(["txt2img", "img2img"]))
def test_a_request_is_read_back_from_its_infotext(values, tab):
    request = AnimationRequest.from_mapping(values)
    found = read_infotext_value(through_the_host(infotext_value(request, tab=tab, extra={"mm_hash": "0" * 8})))
    assert found.items() <= vars(request).items()
    on_this_tab = {n: row for n, row in FIELD.items() if row.infotext and tab in row.infotext_tabs}
    written = {n for n, row in on_this_tab.items() if not (row.infotext_when or row.infotext_unless_default)}
    assert written <= found.keys()
    for switch in ("freeinit_enable", "use_main_seed"):
        if getattr(request, switch):
            assert {n for n, row in FIELD.items() if row.infotext_when == switch} <= found.keys()


@UNHURRIED
@given(NAMES, NAMES)
def test_any_text_stays_within_its_value(model, request_id):
    request = AnimationRequest.from_mapping({"fps": 3})
    text = infotext_value(request, extra={"model": f"m {model}, fps: 9", "note": request_id})
    found = read_infotext_value(through_the_host(text))
    assert found["fps"] == 3
    assert found.get("model", f"m {model}, fps: 9".strip()) == f"m {model}, fps: 9".strip()
    text.encode("utf-8")


@pytest.mark.parametrize(
    "model", ["a, fps: 9.ckpt", 'say "x".ckpt', '"', "a\\b.ckpt", "dir/ä b.ckpt", "a,", "x:1", "日本.ckpt"]
)
def test_awkward_names(model):
    request = AnimationRequest.from_mapping({"model": f"m{model}"})
    assert read_infotext_value(through_the_host(infotext_value(request)))["model"] == f"m{model}"


def test_values_of_older_versions():
    found = read_infotext_value(
        "enable: True, model: mm_sd_v15.ckpt, video_length: 24, fps: 8, loop_number: 0, closed_loop: R-P,"
        " batch_size: 16, stride: x, overlap: 4, interp: NO, interp_x: 10, mm_hash: 7abdefed, unknown: a, b,"
        " last_frame: zzz, video_path: /etc, version: v1.13.0"
    )
    assert found == {
        "enable": True, "model": "mm_sd_v15.ckpt", "video_length": 24, "fps": 8, "loop_number": 0, "closed_loop": "R-P",
        "batch_size": 16, "overlap": 4, "interp": "Off", "interp_x": 10,
    }  # fmt: skip


@UNHURRIED
@given(st.text(st.sampled_from(list('model: fps,"\\{}1\n')), max_size=200))
def test_reading_never_fails(text):
    for name, value in read_infotext_value(text).items():
        assert FIELD[name].parse(value) == value
