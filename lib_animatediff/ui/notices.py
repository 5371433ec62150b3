"""What the top of the panel says when something stands in the way of an animation."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from lib_animatediff.ui.host import host_module
from lib_animatediff.ui.settings import EXTENSION_FOLDER, model_folder


def notices(models: Sequence[str], host_problem: str | None = None) -> list[str]:
    """Sentences for the user, the most serious first; none when all is well.

    models: names of the motion modules there are. host_problem: why this WebUI cannot be served, if so.
    """
    found = [host_problem] if host_problem else []
    found += [
        f"Another AnimateDiff extension is installed in {folder}. Both answer to the same name: disable one of them on"
        " the Extensions tab and restart."
        for folder in other_animatediff_extensions()
    ]
    if not models:
        found.append(
            f"There is no motion module in {model_folder()}. Put one there, for instance mm_sd15_v3.safetensors, and"
            " press 🔄; Settings, AnimateDiff names another folder."
        )
    missing = {
        package: without
        for package, module, without in (
            ("av", "av", "MP4 and WEBM cannot be written"),
            ("opencv-python", "cv2", "Frames cannot be interpolated"),
        )
        if not _importable(module)
    }
    if missing:
        found.append(
            f"{'. '.join(missing.values())}. Run `pip install {' '.join(missing)}` in the WebUI's environment and"
            " restart it."
        )
    return found


def other_animatediff_extensions() -> list[Path]:
    """Folders of extensions beside this one whose script is named as ours, animatediff.py."""
    try:
        loaded = host_module("scripts").scripts_data
    except (ImportError, AttributeError):
        return []
    folders = {Path(data.basedir).resolve() for data in loaded if Path(data.path).name == "animatediff.py"}
    return sorted(folders - {EXTENSION_FOLDER})


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # already imported, without a spec
        return True
