"""The panel, the settings and the scripts the page loads, as far as they can be seen without a browser."""

import re

import pytest

from tests.live.client import SCRIPT

LABELS = {
    "motion-module": "Motion module",
    "save-format": "Save format",
    "enable": "Enable AnimateDiff",
    "video-length": "Number of frames",
    "fps": "FPS",
    "loop-number": "Display loop number",
    "closed-loop": "Closed loop",
    "batch-size": "Context batch size",
    "stride": "Stride",
    "overlap": "Overlap",
    "interp-choice": "Frame Interpolation",
    "interp-x": "Interp X",
    "freeinit-enable": "Enable FreeInit",
    "freeinit-filter": "Filter Type",
    "freeinit-ds": "d_s",
    "freeinit-dt": "d_t",
    "freeinit-fast": "FreeInit fast sampling",
    "context-schedule": "Context schedule",
    "context-fuse": "Context fuse",
    "initial-noise": "Initial noise",
    "full-context": "Animate a full context",
    "motion-scale": "Motion scale",
    "motion-effect": "Motion effect",
    "positions": "Positions",
    "prompt-interpolation": "Prompt interpolation",
    "prompt-easing": "Prompt easing",
}
LABELS_IMG2IMG = {
    "latent-power": "Latent power",
    "latent-scale": "Latent scale",
    "latent-power-last": "Optional latent power for last frame",
    "latent-scale-last": "Optional latent scale for last frame",
}
DEFAULTS = {
    "Enable AnimateDiff": False,
    "Number of frames": 0,
    "FPS": 8,
    "Display loop number": 0,
    "Closed loop": "R-P",
    "Context batch size": 16,
    "Stride": 1,
    "Overlap": -1,
    "Frame Interpolation": "Off",
    "Interp X": 10,
    "Enable FreeInit": False,
    "Filter Type": "butterworth",
    "d_s": 0.25,
    "d_t": 0.25,
    "FreeInit Iterations": 3,
}
OPTIONS = {
    "animatediff_save_to_custom": True,
    "animatediff_optimize_gif_palette": False,
    "animatediff_optimize_gif_gifsicle": False,
    "animatediff_mp4_crf": 23,
    "animatediff_mp4_preset": "",
    "animatediff_mp4_tune": "",
    "animatediff_webp_quality": 80,
    "animatediff_webp_lossless": False,
    "animatediff_frame_extract_remove": False,
    "animatediff_default_frame_extract_method": "ffmpeg",
}


@pytest.fixture(scope="module")
def components(session_host):
    """The components of the page: elem_id -> properties, in the order of the page."""
    answer = session_host.call("/config")
    if answer.status != 200 or not isinstance(answer.body, dict):
        pytest.skip("the host shows no page (--nowebui)")
    found = {}
    for component in answer.body["components"]:
        properties = component["props"]
        if properties.get("elem_id"):
            found.setdefault(properties["elem_id"], []).append({**properties, "type": component["type"]})
    return found


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_components_have_the_ids_and_labels_of_the_contract(components, tab):
    wanted = {**LABELS, **(LABELS_IMG2IMG if tab == "img2img" else {})}
    shown = {name: components[f"{tab}-ad-{name}"][0]["label"] for name in wanted if f"{tab}-ad-{name}" in components}
    assert shown == wanted


def test_the_panel_has_its_buttons(components):
    texts = [entry.get("value") for entries in components.values() for entry in entries if entry["type"] == "button"]
    assert "Move motion module to CPU (default if lowvram)" in texts
    assert "Remove motion module from any memory" in texts


def test_the_arguments_come_straight_from_the_components(host):
    labels = [argument["label"] for argument in host.script_info()[0]["args"]]
    assert labels[0] == "Enable AnimateDiff"
    assert set(LABELS.values()) <= set(labels)
    assert set(LABELS_IMG2IMG.values()) <= {argument["label"] for argument in host.script_info()[1]["args"]}


def test_the_defaults_are_those_of_the_contract(host):
    shown = {argument["label"]: argument["value"] for argument in host.script_info()[0]["args"]}
    assert {label: shown[label] for label in DEFAULTS} == DEFAULTS
    assert sorted(shown["Save format"]) == ["GIF", "PNG"]


def test_the_script_is_always_there_on_both_tabs(host):
    scripts = host.scripts()
    for tab in ("txt2img", "img2img"):
        assert [name.lower() for name in scripts[tab]].count(SCRIPT.lower()) == 1
    assert [entry["is_alwayson"] for entry in host.script_info()] == [True, True]


def test_settings_are_there_with_their_defaults(session_host):
    options = session_host.options()
    assert {name: options.get(name) for name in OPTIONS} == OPTIONS
    assert "animatediff_model_path" in options
    assert sorted(options["animatediff_default_save_formats"]) == ["GIF", "PNG"]


def test_the_page_loads_our_script(session_host, components):
    """MP4 and WEBM play by javascript/; the host names the file in its page."""
    page = session_host.call("/").body
    assert isinstance(page, str)
    assert re.search(r"javascript/[\w.-]*animatediff[\w.-]*\.js", page, re.IGNORECASE)


@pytest.mark.parametrize("keep", ["ram", "nowhere", "device"])
def test_the_memory_setting_changes_no_frame(host, options, session_host, keep):
    name = "animatediff_keep_motion_module"
    if name not in session_host.options():
        pytest.skip(f"the host has no option {name}")
    before = host.animate().frames
    for value in (keep, keep):
        options(**{name: value})
        assert (host.animate().frames == before).all()
