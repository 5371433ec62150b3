"""The settings: what is registered with the host, and what is read from it."""

from pathlib import Path

import pytest

from lib_animatediff.ui import settings
from lib_animatediff.video.options import WriterOptions
from tests.unit import fake_modules


@pytest.fixture
def host(monkeypatch):
    return fake_modules.install(monkeypatch)


@pytest.fixture
def options(host):
    settings.add_options()
    return host.shared.opts.data


def test_the_contracts_settings_are_registered(host, options):
    assert {key: value for key, value in options.items() if key != "animatediff_keep_motion_module"} == {
        "animatediff_model_path": None,
        "animatediff_default_save_formats": ["GIF", "PNG"],
        "animatediff_save_to_custom": True,
        "animatediff_frame_extract_path": None,
        "animatediff_frame_extract_remove": False,
        "animatediff_default_frame_extract_method": "ffmpeg",
        "animatediff_optimize_gif_palette": False,
        "animatediff_optimize_gif_gifsicle": False,
        "animatediff_mp4_crf": 23,
        "animatediff_mp4_preset": "",
        "animatediff_mp4_tune": "",
        "animatediff_webp_quality": 80,
        "animatediff_webp_lossless": False,
    }
    assert {info.section for info in host.shared.opts.data_labels.values()} == {("animatediff", "AnimateDiff")}


def test_every_setting_can_be_shown(host, options):
    for key, info in host.shared.opts.data_labels.items():
        component = info.component(label=info.label, value=options[key], elem_id=key, **(info.component_args or {}))
        assert component.label == info.label
        assert component.value == options[key]


def test_defaults(options):
    assert settings.model_folder() == settings.EXTENSION_FOLDER / "model"
    assert (settings.EXTENSION_FOLDER / "scripts").is_dir()
    assert settings.default_formats() == ("GIF", "PNG")
    assert settings.request_defaults() == {"format": ("GIF", "PNG")}
    assert settings.film_file() == Path("/webui/models/Deforum/film_interpolation/film_net_fp16.pt")
    assert settings.frames_in_own_folder() is True
    assert settings.keep_motion_module() == "device"
    assert settings.writer_options() == WriterOptions()


def test_a_host_that_has_not_registered_them_yet_gives_the_defaults(host):
    assert settings.model_folder() == settings.EXTENSION_FOLDER / "model"
    assert settings.default_formats() == ("GIF", "PNG")
    assert settings.frames_in_own_folder() is True
    assert settings.writer_options() == WriterOptions()


def test_changes_are_seen_at_once(host, options, tmp_path):
    options["animatediff_model_path"] = f" {tmp_path} "
    options["animatediff_default_save_formats"] = ["MP4"]
    options["animatediff_save_to_custom"] = False
    assert settings.model_folder() == tmp_path
    assert settings.default_formats() == ("MP4",)
    assert settings.frames_in_own_folder() is False
    options["animatediff_model_path"] = "~/motion"
    assert settings.model_folder() == Path.home() / "motion"
    kept = []
    for choice in host.shared.opts.data_labels["animatediff_keep_motion_module"].component_args["choices"]:
        options["animatediff_keep_motion_module"] = choice
        kept.append(settings.keep_motion_module())
    assert kept == ["device", "ram", "nowhere"]


def test_the_writers_options(options):
    options.update(
        animatediff_mp4_crf=18.0,
        animatediff_mp4_preset="slow",
        animatediff_mp4_tune="animation",
        animatediff_webp_quality=95,
        animatediff_webp_lossless=True,
        animatediff_optimize_gif_palette=True,
        animatediff_optimize_gif_gifsicle=True,
        enable_pnginfo=False,
    )
    made = settings.writer_options()
    assert made == WriterOptions(18, "slow", "animation", 95, True, True, True, False)
    assert type(made.mp4_crf) is int


@pytest.mark.parametrize("value", [None, "", [], ["MOV"], "MOV", ["TXT"], 5])
def test_unusable_formats_in_a_settings_file_give_the_defaults(options, value):
    options["animatediff_default_save_formats"] = value
    assert settings.default_formats() == ("GIF", "PNG")


@pytest.mark.parametrize("value", [None, "", "high", -1, 52, True, [23], float("nan")])
def test_unusable_values_in_a_settings_file_give_the_defaults(options, value):
    options["animatediff_mp4_crf"] = value
    options["animatediff_mp4_preset"] = value
    options["animatediff_keep_motion_module"] = str(value)
    assert settings.writer_options() == WriterOptions()
    assert settings.keep_motion_module() == "device"
