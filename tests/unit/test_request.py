"""The table of fields, and requests made of dicts and of the host's argument lists."""

import base64
import dataclasses
import io
import json
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_animatediff.errors import RequestError
from lib_animatediff.request import FIELD, FIELDS, AnimationRequest, panel_fields, parse_script_args
from tests.unit.malformed_requests import MalformedRequest, malformed_requests

# The first draw of text builds Hypothesis's tables of characters, which takes seconds on a busy machine.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

_file_names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\:"), max_size=40
)
_values = {
    "bool": lambda row: st.booleans(),
    "int": lambda row: st.integers(row.minimum, row.maximum),
    "float": lambda row: st.floats(row.minimum, row.maximum),
    "choice": lambda row: st.sampled_from(row.choices),
    "schedule": lambda row: st.sampled_from([*row.choices, "shuffled 10%, uniform"]),
    "curve": lambda row: st.sampled_from(["1", "0.5", "0:1, 3:1.5"]),
    "formats": lambda row: st.lists(st.sampled_from(row.choices), unique=True).map(lambda some: ["PNG", *some]),
    "model": lambda row: _file_names.map(lambda name: f"m{name.strip()}.ckpt"),
    "path": lambda row: st.just(""),
    "name": lambda row: st.from_regex(r"[\w. ,;=-]{0,60}", fullmatch=True),
    "image": lambda row: st.sampled_from([None, PNG, "data:image/png;base64," + PNG]),
    "ignored": lambda row: st.none(),
}


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, object]:
    """Fields of a request that is good, some of them left out."""
    some = {row.name: draw(_values[row.kind](row)) for row in FIELDS if draw(st.booleans())}
    some["overlap"] = draw(st.integers(-1, some.get("batch_size", 16) - 1))
    some["interp_x"] = draw(st.integers(1, 10))
    return {"enable": True, **some}


def as_a_client_sends(values: dict[str, object]) -> dict[str, object]:
    """The same fields in the loose types of JSON clients."""
    loose = {}
    for name, value in values.items():
        kind = FIELD[name].kind
        if kind == "int":
            loose[name] = str(value) if value % 2 else float(value)
        elif kind == "float":
            loose[name] = repr(value)
        elif kind == "bool":
            loose[name] = str(value).lower() if name == "enable" else int(value)
        elif kind == "choice":
            loose[name] = value.lower()
        elif kind == "formats":
            loose[name] = ", ".join(value).lower()
        else:
            loose[name] = value
    return loose


def test_the_dataclass_has_the_fields_of_the_table():
    assert [row.name for row in dataclasses.fields(AnimationRequest)] == [row.name for row in FIELDS]


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.name)
def test_a_row_is_complete(row):
    assert row.parse(row.default) == row.default
    assert row.parse(None) == row.default
    assert row.help or row.name == "format"
    if row.tabs:
        assert row.label
        assert row.elem_id
    if row.kind in ("int", "float"):
        assert row.minimum <= row.default <= row.maximum
        assert row.slider is None or row.minimum <= row.slider[0] < row.slider[1] <= row.maximum


def test_the_contracts_defaults():
    request = AnimationRequest.from_mapping({})
    assert request.to_dict() == {
        "model": "mm_sd15_v3.safetensors", "enable": False, "video_length": 0, "fps": 8, "loop_number": 0,
        "closed_loop": "R-P", "batch_size": 16, "stride": 1, "overlap": -1, "format": ["GIF", "PNG"], "interp": "Off",
        "interp_x": 10, "video_source": "", "video_path": "", "mask_path": "", "freeinit_enable": False,
        "freeinit_filter": "butterworth", "freeinit_ds": 0.25, "freeinit_dt": 0.25, "freeinit_iters": 3,
        "latent_power": 1.0, "latent_scale": 32.0, "last_frame": None, "latent_power_last": 1.0,
        "latent_scale_last": 32.0, "use_main_seed": False, "request_id": "", "is_i2i_batch": False,
        "video_default": False, "prompt_scheduler": None,
        # ours
        "prompt_interpolation": "slerp", "prompt_easing": "linear", "context_schedule": "uniform",
        "context_fuse": "pyramid", "initial_noise": "per frame", "motion_scale": "1", "motion_effect": "1",
        "positions": "trained", "freeinit_fast": False, "full_context": False,
    }  # fmt: skip


def test_the_arguments_keep_the_contracts_order():
    ours = [
        "prompt_interpolation", "prompt_easing", "context_schedule", "context_fuse", "initial_noise", "motion_scale",
        "motion_effect", "positions", "freeinit_fast", "full_context",
    ]  # fmt: skip
    txt2img = [row.name for row in panel_fields("txt2img")]
    assert txt2img == [
        "enable", "model", "video_length", "fps", "loop_number", "closed_loop", "batch_size", "stride", "overlap",
        "format", "interp", "interp_x", "freeinit_enable", "freeinit_filter", "freeinit_ds", "freeinit_dt",
        "freeinit_iters", "use_main_seed", *ours,
    ]  # fmt: skip
    img2img = [row.name for row in panel_fields("img2img")]
    latents = ["latent_power", "latent_scale", "last_frame", "latent_power_last", "latent_scale_last"]
    assert img2img == [*txt2img[: -1 - len(ours)], *latents, "use_main_seed", *ours]


@UNHURRIED
@given(mappings())
def test_a_request_survives_the_way_through_json(values):
    request = AnimationRequest.from_mapping(values)
    assert AnimationRequest.from_mapping(json.loads(json.dumps(request.to_dict()))) == request
    for name, value in values.items():
        assert getattr(request, name) == (tuple(dict.fromkeys(value)) if name == "format" else value)


@UNHURRIED
@given(mappings())
def test_loose_types_make_the_same_request(values):
    assert AnimationRequest.from_mapping(as_a_client_sends(values)) == AnimationRequest.from_mapping(values)


@UNHURRIED
@given(mappings(), st.sampled_from(["txt2img", "img2img"]))
def test_dict_and_list_make_the_same_request(values, tab):
    here = {row.name for row in panel_fields(tab)}
    values = {name: value for name, value in values.items() if name in here}
    args = [values.get(row.name) for row in panel_fields(tab)]
    assert parse_script_args(args, tab=tab) == parse_script_args([values], tab=tab)


def test_there_are_enough_malformed_requests():
    cases = malformed_requests()
    assert len(cases) >= 200
    assert len({case.name for case in cases}) == len(cases)


@pytest.mark.parametrize("case", malformed_requests(), ids=lambda case: case.name)
def test_a_malformed_request_is_refused_by_name(case: MalformedRequest):
    with pytest.raises(RequestError) as caught:
        parse_script_args(case.args, tab="img2img")
    message = str(caught.value)
    assert case.field in caught.value.field
    assert case.field in message
    assert caught.value.status_code == 422
    assert message.endswith((".", "?"))
    assert len(message) < 900
    message.encode("utf-8")


@pytest.mark.parametrize(
    ("key", "meant"), [("fsp", "fps"), ("enabled", "enable"), ("video_lenght", "video_length"), ("Format", "format")]
)
def test_the_nearest_field_is_suggested(key, meant):
    with pytest.raises(RequestError, match=f"Did you mean {meant}"):
        AnimationRequest.from_mapping({key: 1})


@pytest.mark.parametrize("value", ["Off", "off", "OFF", "NO", "no", "No", False, "false", "", "none"])
def test_interpolation_is_off_in_all_its_spellings(value):
    assert AnimationRequest.from_mapping({"interp": value}).interp == "Off"


@pytest.mark.parametrize(
    ("value", "formats"),
    [
        ("GIF", ("GIF",)),
        ("gif, mp4", ("GIF", "MP4")),
        ("webp webm", ("WEBP", "WEBM")),
        (["PNG", "png", "Frame", "txt"], ("PNG", "Frame", "TXT")),
        (("MP4",), ("MP4",)),
    ],
)
def test_formats_come_in_several_shapes(value, formats):
    assert AnimationRequest.from_mapping({"format": value}).format == formats


@pytest.mark.parametrize("args", [[], [None], [False], [None, None, None], ["false"], [0], [{}], [{"enable": False}]])
def test_a_request_that_is_not_enabled(args):
    assert parse_script_args(args, tab="txt2img").enable is False


def test_true_alone_takes_the_defaults():
    request = parse_script_args([True], tab="txt2img", defaults={"format": ["MP4"], "model": "mm.ckpt"})
    assert request.enable
    assert (request.format, request.model, request.fps) == (("MP4",), "mm.ckpt", 8)


def test_a_panel_that_is_not_enabled_never_refuses():
    junk = [object() for _ in panel_fields("img2img")]
    junk[0] = False
    assert parse_script_args(junk, tab="img2img") == AnimationRequest.from_mapping({})
    some = [False, "/abs.ckpt", 24, 0, None, None, 4, 1, 4]
    request = parse_script_args(some, tab="txt2img")
    assert (request.video_length, request.fps, request.model) == (24, 8, "mm_sd15_v3.safetensors")


def test_an_axis_that_enables_checks_what_the_panel_holds():
    args = [False, "mm.ckpt", 24, 0]
    with pytest.raises(RequestError, match="fps"):
        parse_script_args(args, tab="txt2img", overrides={"enable": True})
    request = parse_script_args(args, tab="txt2img", overrides={"enable": "True", "fps": 12})
    assert (request.enable, request.fps, request.video_length) == (True, 12, 24)


def test_overrides_come_last_and_are_checked():
    args = [{"enable": True, "fps": 3, "batch_size": 16}, "ignored"]
    request = parse_script_args(args, tab="txt2img", overrides={"fps": 4, "closed_loop": "a"})
    assert (request.fps, request.closed_loop, request.batch_size) == (4, "A", 16)
    with pytest.raises(RequestError, match="overlap"):
        parse_script_args(args, tab="txt2img", overrides={"overlap": 16})


def test_after_a_dict_the_hosts_defaults_are_not_a_request():
    at_start = [row.default for row in panel_fields("txt2img")]
    at_start[1] = "first_in_the_list.ckpt"
    args = [{"enable": True, "stride": 2}, *at_start[1:]]
    request = parse_script_args(args, tab="txt2img", host_defaults=at_start, defaults={"format": ["WEBM"]})
    assert (request.model, request.format, request.stride) == ("mm_sd15_v3.safetensors", ("WEBM",), 2)


def test_after_a_dict_values_of_an_infotext_are_taken_where_the_dict_is_silent():
    rows = [row.name for row in panel_fields("txt2img")]
    at_start = [row.default for row in panel_fields("txt2img")]
    args = [{"enable": True, "stride": 2}, *at_start[1:]]
    args[rows.index("fps")] = 12
    args[rows.index("stride")] = 4
    request = parse_script_args(args, tab="txt2img", host_defaults=at_start)
    assert (request.fps, request.stride) == (12, 2)
    assert parse_script_args(args, tab="txt2img").fps == 8


def test_an_object_with_attributes_serves_as_a_dict():
    request = parse_script_args(
        [SimpleNamespace(enable=True, fps=12, format=["GIF"], video_source=None, text_cond=None, step=0)], tab="img2img"
    )
    assert (request.enable, request.fps, request.format) == (True, 12, ("GIF",))
    assert parse_script_args([request], tab="img2img") == request


def test_one_key_dicts_in_a_list_are_one_request():
    request = parse_script_args([{"enable": True}, {"fps": 5}, {"video_length": 9}], tab="txt2img")
    assert (request.enable, request.fps, request.video_length) == (True, 5, 9)


def test_internal_keys_sent_back_are_tolerated():
    sent = {**AnimationRequest.from_mapping({}).to_dict(), "enable": True, "prompt_scheduler": {"any": "thing"}}
    assert AnimationRequest.from_mapping({**sent, "video_default": True}).prompt_scheduler is None


def test_the_last_frame_is_an_image_or_its_file():
    image = Image.new("RGB", (4, 4))
    assert AnimationRequest.from_mapping({"last_frame": image}).last_frame is image
    assert AnimationRequest.from_mapping({"last_frame": " "}).last_frame is None
    with pytest.raises(RequestError, match="img2img"):
        parse_script_args([{"enable": True, "last_frame": PNG}], tab="txt2img")
    assert parse_script_args([{"enable": True, "last_frame": PNG}], tab="img2img").last_frame == PNG


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_image_files_are_known_by_their_beginning(kind):
    file = io.BytesIO()
    Image.new("L", (5, 3), 200).save(file, kind)
    text = base64.encodebytes(file.getvalue()).decode()
    for sent in (text, f"data:image/{kind.lower()};base64,{text}"):
        assert AnimationRequest.from_mapping({"last_frame": sent}).last_frame == sent


def test_a_request_cannot_be_changed_in_place():
    request = AnimationRequest.from_mapping({})
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.fps = 3
    assert isinstance(request.format, tuple)


def test_values_that_do_not_go_together_are_left_alone_while_not_enabled():
    request = AnimationRequest.from_mapping({"overlap": 16, "model": "", "video_path": "/frames"})
    with pytest.raises(RequestError):
        request.replace(enable=True)


@UNHURRIED
@given(st.text(max_size=200))
def test_text_as_last_frame_is_kept_or_refused(text):
    if not text.strip():
        assert FIELD["last_frame"].parse(text) is None
    else:
        with pytest.raises(RequestError, match="last_frame"):
            FIELD["last_frame"].parse(text)


def test_a_long_text_that_is_no_image_is_refused_at_once():
    with pytest.raises(RequestError, match="last_frame"):
        FIELD["last_frame"].parse("A" + " " * 2_000_000 + "!")
