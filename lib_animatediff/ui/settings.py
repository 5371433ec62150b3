"""The settings page's section: what the user sets once for all animations, read when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from lib_animatediff.errors import RequestError
from lib_animatediff.field_types import VIDEO_FORMATS
from lib_animatediff.fields import FIELD
from lib_animatediff.ui.host import host_module
from lib_animatediff.video.options import WriterOptions

EXTENSION_FOLDER = Path(__file__).resolve().parents[2]

_SECTION = ("animatediff", "AnimateDiff")
_KEEP = {"on the compute device": "device", "in RAM": "ram", "nowhere: read the file for each run": "nowhere"}
_NO_VIDEO_INPUT = "has no effect: there is no video input in this version"
_PRESETS = ["", "veryslow", "slower", "slow", "medium", "fast", "faster", "veryfast", "superfast", "ultrafast"]
_TUNES = ["", "film", "animation", "grain"]


def add_options() -> None:
    """Adds the section to the host's settings; for `script_callbacks.on_ui_settings`."""
    shared = host_module("shared")

    def add(key: str, default: object, label: str, component: Any, info: str = "", **component_args: object) -> None:
        option = shared.OptionInfo(default, label, component, component_args or None, section=_SECTION)
        shared.opts.add_option(f"animatediff_{key}", option.info(info) if info else option)

    add(
        "model_path",
        None,
        "Folder of the motion modules",
        gr.Textbox,
        "empty for the folder `model` of this extension",
        placeholder=str(EXTENSION_FOLDER / "model"),
    )
    add(
        "default_save_formats",
        list(FIELD["format"].default),
        "Save formats chosen at start, and taken when a program names none",
        gr.CheckboxGroup,
        "the page shows a change after Reload UI",
        choices=[*VIDEO_FORMATS, "TXT"],
    )
    add("save_to_custom", True, "Save PNG frames in a folder beside the animation", gr.Checkbox)
    add(
        "keep_motion_module",
        next(iter(_KEEP)),
        "Keep the motion module between runs",
        gr.Radio,
        "with --lowvram and --medvram it never stays on the device",
        choices=list(_KEEP),
    )
    # nothing reads these yet; they are here so that programs which set them go on working
    add("frame_extract_path", None, "Video input: folder for its frames", gr.Textbox, _NO_VIDEO_INPUT)
    add("frame_extract_remove", False, "Video input: remove its frames afterwards", gr.Checkbox, _NO_VIDEO_INPUT)
    add(
        "default_frame_extract_method",
        "ffmpeg",
        "Video input: how its frames are read",
        gr.Radio,
        _NO_VIDEO_INPUT,
        choices=["ffmpeg", "opencv"],
    )
    add("optimize_gif_palette", False, "GIF: choose the colours for the whole animation", gr.Checkbox)
    add("optimize_gif_gifsicle", False, "GIF: make the file smaller with gifsicle", gr.Checkbox, "has to be installed")
    add(
        "mp4_crf",
        23,
        "MP4: constant rate factor",
        gr.Slider,
        "lower is better and larger",
        minimum=0,
        maximum=51,
        step=1,
    )
    add("mp4_preset", "", "MP4: preset", gr.Dropdown, "slower makes smaller files", choices=_PRESETS)
    add("mp4_tune", "", "MP4: tune for a kind of picture", gr.Dropdown, choices=_TUNES)
    add("webp_quality", 80, "WEBP: quality", gr.Slider, "when it is not lossless", minimum=1, maximum=100, step=1)
    add("webp_lossless", False, "WEBP: lossless", gr.Checkbox)


def model_folder() -> Path:
    """The folder motion modules are looked for in."""
    folder = str(_value("animatediff_model_path") or "").strip()
    return Path(folder).expanduser() if folder else EXTENSION_FOLDER / "model"


def film_file() -> Path:
    """The network for FILM, where users of Deforum have it already, among the host's models."""
    return Path(host_module("paths_internal").models_path, "Deforum", "film_interpolation", "film_net_fp16.pt")


def default_formats() -> tuple[str, ...]:
    """Formats of a request that names none."""
    try:
        return FIELD["format"].parse(_value("animatediff_default_save_formats"))
    except RequestError:  # a settings file edited by hand, or all boxes unticked
        return FIELD["format"].default


def request_defaults() -> dict[str, object]:
    """The settings that stand in for fields a request leaves out."""
    return {"format": default_formats()}


def frames_in_own_folder() -> bool:
    """Whether PNG frames go into a folder of the animation, not among the host's own images."""
    return bool(_value("animatediff_save_to_custom", True))


def keep_motion_module() -> str:
    """Where the weights stay after a run: "device", "ram" or "nowhere"."""
    return _KEEP.get(_value("animatediff_keep_motion_module"), "device")


def writer_options() -> WriterOptions:
    """The settings of the writers; infotext is embedded where the host embeds it in its images."""
    return WriterOptions(
        mp4_crf=_whole("animatediff_mp4_crf", 23, 0, 51),
        mp4_preset=_one_of("animatediff_mp4_preset", _PRESETS),
        mp4_tune=_one_of("animatediff_mp4_tune", _TUNES),
        webp_quality=_whole("animatediff_webp_quality", 80, 1, 100),
        webp_lossless=bool(_value("animatediff_webp_lossless", False)),
        gif_palette=bool(_value("animatediff_optimize_gif_palette", False)),
        gif_gifsicle=bool(_value("animatediff_optimize_gif_gifsicle", False)),
        embed_infotext=bool(_value("enable_pnginfo", True)),
    )


def _value(key: str, default: object = None) -> Any:
    """The setting's value now; the default where the host has none yet."""
    value = getattr(host_module("shared").opts, key, None)
    return default if value is None else value


def _whole(key: str, default: int, minimum: int, maximum: int) -> int:
    value = _value(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not minimum <= value <= maximum:
        return default
    return int(value)


def _one_of(key: str, choices: list[str]) -> str:
    value = _value(key, "")
    return value if value in choices else ""
