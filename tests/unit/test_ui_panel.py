"""The panel under the gradio that is installed: its components, its buttons, and what an infotext puts into it."""

import json
import re

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from lib_animatediff.errors import AnimateDiffError
from lib_animatediff.fields import FIELD, panel_fields
from lib_animatediff.request import AnimationRequest, infotext_value, parse_script_args
from lib_animatediff.ui.panel import REMOVE_LABEL, TO_CPU_LABEL, Panel, PanelActions, _refreshed, build_panel
from tests.unit import fake_modules
from tests.unit.test_request import UNHURRIED, mappings

MODELS = ["mm_sd15_v3.safetensors", "mm_sd_v15.ckpt", "sub/mm.ckpt"]
TABS = ["txt2img", "img2img"]


class Recorder:
    """Actions that remember what was asked of them, with a list of models that can change."""

    def __init__(self, models=MODELS, notices=(), sentence="Done."):
        self.models, self.notices, self.sentence, self.calls = list(models), list(notices), sentence, []

    def act(self, name):
        self.calls.append(name)
        if isinstance(self.sentence, Exception):
            raise self.sentence
        return self.sentence

    def windows(self, values):
        request = AnimationRequest.from_mapping(values)
        return f"<svg>{request.video_length} {request.context_schedule}</svg>"

    def actions(self):
        return PanelActions(
            models=lambda: self.models,
            notices=lambda: self.notices,
            to_cpu=lambda: self.act("to_cpu"),
            remove=lambda: self.act("remove"),
            windows=self.windows,
            curves=lambda values: f"<svg>{values['motion_scale']}</svg>",
        )


def built(tab="txt2img", recorder=None, **kwargs) -> tuple[Panel, gr.Blocks]:
    with gr.Blocks() as page:
        panel = build_panel(tab, (recorder or Recorder()).actions(), **kwargs)
    return panel, page


def blocks(page):
    return page.get_config_file()["components"]


def by_id(page, elem_id):
    [found] = [block for block in blocks(page) if block["props"].get("elem_id") == elem_id]
    return found["props"]


def press(page, elem_id, data):
    """What the server answers when the button with this id is pressed: the updates of its outputs."""
    button = next(block["id"] for block in blocks(page) if block["props"].get("elem_id") == elem_id)
    for index, event in enumerate(page.get_config_file()["dependencies"]):
        if any((target[0] if isinstance(target, (list, tuple)) else target) == button for target in event["targets"]):
            page.queue()
            client = TestClient(gr.routes.App.create_app(page))
            answer = client.post("/api/predict", json={"fn_index": index, "data": data, "session_hash": "test"})
            assert answer.status_code == 200, answer.text
            return answer.json()["data"]
    raise AssertionError(f"{elem_id} does nothing")


@pytest.mark.parametrize("tab", TABS)
def test_labels_and_ids_are_the_contracts(tab):
    _, page = built(tab)
    props = {block["props"].get("elem_id"): block["props"] for block in blocks(page)}
    assert props[f"{tab}-ad-motion-module"]["label"] == "Motion module"
    assert props[f"{tab}-ad-enable"]["label"] == "Enable AnimateDiff"
    ids = "save-format video-length fps loop-number closed-loop batch-size stride overlap interp-choice interp-x"
    for name in [*ids.split(), *(f"freeinit-{end}" for end in ("enable", "filter", "ds", "dt"))]:
        assert f"{tab}-ad-{name}" in props
    last = [f"{tab}-ad-{name}" for name in ("latent-power", "latent-scale", "latent-power-last", "latent-scale-last")]
    assert all((name in props) == (tab == "img2img") for name in last)
    accordions = {block["props"].get("label"): block["props"] for block in blocks(page) if block["type"] == "accordion"}
    assert accordions["AnimateDiff"]["open"] is False
    assert ("I2V Traditional" in accordions) == (tab == "img2img")
    assert "FreeInit Params" in accordions
    values = [block["props"].get("value") for block in blocks(page) if block["type"] == "button"]
    assert {TO_CPU_LABEL, REMOVE_LABEL, "🔄"} <= set(values)
    named = [block["props"]["elem_id"] for block in blocks(page) if block["props"].get("elem_id")]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("tab", TABS)
def test_components_are_the_scripts_arguments(tab):
    panel, _ = built(tab)
    assert [component.label for component in panel.components] == [row.label for row in panel_fields(tab)]
    assert panel.components[0].label == "Enable AnimateDiff"
    request = parse_script_args([component.value for component in panel.components], tab=tab)
    assert request == AnimationRequest.from_mapping({})
    enabled = parse_script_args([True, *panel.initial_values[1:]], tab=tab)
    assert enabled == AnimationRequest.from_mapping({"enable": True})


@pytest.mark.parametrize("tab", TABS)
def test_components_give_the_types_of_the_fields(tab):
    panel, _ = built(tab)
    kinds = {
        "bool": bool,
        "int": int,
        "float": float,
        "choice": str,
        "schedule": str,
        "curve": str,
        "model": str,
        "formats": list,
    }
    for component, row in zip(panel.components, panel_fields(tab), strict=True):
        if row.kind != "image":
            assert type(component.value) is kinds.get(row.kind, str), row.name


def test_sliders_have_the_contracts_ranges():
    _, page = built("img2img")
    ranges = {
        "batch-size": (1, 32), "freeinit-ds": (0, 1), "freeinit-dt": (0, 1), "freeinit-iters": (2, 5),
        "latent-power": (0.1, 10), "latent-scale": (1, 128), "latent-power-last": (0.1, 10),
        "latent-scale-last": (1, 128),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        props = by_id(page, f"img2img-ad-{name}")
        assert (props["minimum"], props["maximum"]) == (low, high)


def test_number_boxes_leave_the_bounds_to_the_request():
    panel, _ = built()
    for component in panel.components:
        if isinstance(component, gr.Number):
            assert component.preprocess(-5) == -5
            assert component.preprocess(None) is None


@pytest.mark.parametrize(
    ("models", "wanted", "shown"),
    [
        (MODELS, {}, "mm_sd15_v3.safetensors"),
        (MODELS[1:], {}, "mm_sd_v15.ckpt"),
        ([], {}, ""),
        (MODELS, {"model": "sub/mm.ckpt"}, "sub/mm.ckpt"),
        (MODELS, {"model": "gone.ckpt"}, "mm_sd15_v3.safetensors"),
    ],
)
def test_the_motion_module_shown_at_first(models, wanted, shown):
    panel, _ = built(recorder=Recorder(models), defaults=wanted)
    assert panel.components[1].value == shown


def test_a_panel_without_motion_modules_lets_plain_images_pass():
    panel, _ = built(recorder=Recorder([]))
    assert parse_script_args(panel.initial_values, tab="txt2img").enable is False


def test_defaults_replace_the_tables():
    panel, page = built(defaults={"format": ("MP4", "Frame")})
    assert by_id(page, "txt2img-ad-save-format")["value"] == ["MP4"]
    assert parse_script_args([True, *panel.initial_values[1:]], tab="txt2img").format == ("MP4",)


def test_building_again_is_independent():
    first, _ = built()
    second, _ = built()
    assert first.initial_values == second.initial_values
    assert not set(map(id, first.components)) & set(map(id, second.components))


def test_notices_are_shown_as_text():
    _, page = built(recorder=Recorder(notices=["No module in <b>C:\\models</b>.", "Another one."]))
    notice = by_id(page, "txt2img-ad-notice")
    assert notice["visible"] is True
    assert "&lt;b&gt;C:\\models&lt;/b&gt;" in notice["value"]
    assert notice["value"].count("<p>") == 2
    _, quiet = built()
    assert by_id(quiet, "txt2img-ad-notice")["visible"] is False


def test_pictures_follow_the_fields_and_say_what_is_wrong():
    _, page = built()
    assert by_id(page, "txt2img-ad-windows")["value"] == "<svg>0 uniform</svg>"
    assert by_id(page, "txt2img-ad-curves")["value"] == "<svg>1</svg>"
    of_windows = [24, 16, False, 1, -1, "R-P", "static"]
    assert press(page, "txt2img-ad-context-schedule", of_windows) == ["<svg>24 static</svg>"]
    [wrong] = press(page, "txt2img-ad-context-schedule", [*of_windows[:-1], "<b>"])
    assert wrong.startswith("<p>⚠ AnimateDiff, Context schedule (context_schedule): &#x27;&lt;b&gt;&#x27;")


def test_refresh_lists_the_files_there_are_now():
    recorder = Recorder([], notices=["There is none."])
    panel, page = built(recorder=recorder)
    recorder.models, recorder.notices = ["new.ckpt", "other.ckpt"], []
    model, notice, _ = press(page, "txt2img-ad-refresh-motion-module", [""])
    names = [choice[0] if isinstance(choice, (list, tuple)) else choice for choice in model["choices"]]
    assert (names, notice["visible"]) == (["new.ckpt", "other.ckpt"], False)
    for chosen, next_choice in (("", "new.ckpt"), ("other.ckpt", "other.ckpt"), ("gone.ckpt", "gone.ckpt")):
        *_, kept = _refreshed(panel.components[1], chosen, recorder.actions())
        assert kept == next_choice
    assert "new.ckpt" in json.dumps(by_id(page, "txt2img-ad-motion-module")["choices"])
    assert panel.components[1].preprocess("typed.ckpt") == "typed.ckpt"
    assert recorder.calls == []


@pytest.mark.parametrize(("button", "name"), [("to-cpu", "to_cpu"), ("remove", "remove")])
def test_the_memory_buttons_say_what_they_did(button, name):
    recorder = Recorder()
    _, page = built(recorder=recorder)
    [done] = press(page, f"txt2img-ad-{button}", [])
    assert (recorder.calls, done["value"], done["visible"]) == ([name], "<p>Done.</p>", True)
    recorder.sentence = AnimateDiffError("It is <busy>.")
    [done] = press(page, f"txt2img-ad-{button}", [])
    assert done["value"] == "<p>It is &lt;busy&gt;.</p>"
    recorder.sentence = None
    [done] = press(page, f"txt2img-ad-{button}", [])
    assert done["visible"] is False


def paste_in_the_page(panel, parameters):
    """The values after the host's paste button: updates converted to the type of the component's first value."""
    values = []
    pasted = {id(component): read for component, read in panel.infotext_fields}
    for component in panel.components:
        value = pasted[id(component)](parameters) if id(component) in pasted else None
        if value is None:
            values.append(component.value)
        else:
            values.append(float(value) if type(component.value) is int else type(component.value)(value))
    return values


def paste_in_the_api(panel, parameters):
    """The values with the API's `infotext` field: those of another type than the component's first are converted."""
    values = panel.initial_values
    for field in panel.infotext_fields:
        assert isinstance(field, fake_modules.PasteField)
        assert field.api is None
        value, kind = field.function(parameters), type(field.component.value)
        if value is not None and kind is not type(None):
            place = next(i for i, component in enumerate(panel.components) if component is field.component)
            values[place] = value if isinstance(value, kind) else kind(value)
    return values


@pytest.fixture(scope="module")
def panels():
    with pytest.MonkeyPatch.context() as monkeypatch:
        fake_modules.install(monkeypatch)
        return {tab: built(tab)[0] for tab in TABS}


@pytest.mark.parametrize("paste", [paste_in_the_page, paste_in_the_api])
@UNHURRIED
@given(values=mappings(), tab=st.sampled_from(TABS))
def test_an_infotext_restores_the_request_and_enables_it(panels, paste, values, tab):
    request = AnimationRequest.from_mapping(values)
    parameters = {"AnimateDiff": infotext_value(request, tab=tab, extra={"mm_hash": "01234567"}), "Steps": "20"}
    pasted = parse_script_args(paste(panels[tab], parameters), tab=tab)
    assert pasted.enable is True
    for row in panel_fields(tab):
        if row.infotext and (not row.infotext_when or getattr(request, row.infotext_when)):
            assert getattr(pasted, row.name) == getattr(request, row.name), row.name


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("paste", [paste_in_the_page, paste_in_the_api])
def test_an_infotext_of_a_plain_image_changes_nothing(panels, paste, tab):
    assert paste(panels[tab], {"Prompt": "a cat", "Steps": "20"}) == panels[tab].initial_values


def test_an_infotext_turns_off_what_it_does_not_name(panels):
    read = {id(component): function for component, function in panels["txt2img"].infotext_fields}
    place = [row.name for row in panel_fields("txt2img")].index
    text = {"AnimateDiff": "model: mm.ckpt, fps: 8, version: v1.13"}
    components = panels["txt2img"].components
    assert read[id(components[place("freeinit_enable")])](text) is False
    assert read[id(components[place("use_main_seed")])](text) is False
    assert read[id(components[place("stride")])](text) is None
    assert read[id(components[0])]({"AnimateDiff": "enable: False, fps: 8"}) is False


def test_without_the_hosts_helpers_the_pairs_are_plain():
    panel, _ = built()
    assert all(type(field) is tuple and len(field) == 2 for field in panel.infotext_fields)
    assert panel.paste_field_names == []


def test_help_texts_fit_beside_their_component():
    for row in FIELD.values():
        assert len(row.help) <= 110
        assert not re.search(r"\s{2}", row.help)
