"""What the top of the panel says when something stands in the way of an animation."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from lib_animatediff.ui.host import host_module
from lib_animatediff.ui.settings import EXTENSION_FOLDER, model_folder


def notices(models: Callable[[], Sequence[str]], host_problem: str | None = None) -> list[str]:
    """Sentences for the user, the most serious first; none when all is well.

    models: lists the names of the motion modules there are. host_problem: why this WebUI cannot be served, if so.
    """
    found = [host_problem] if host_problem else []
    rival = other_animatediff()
    if rival:
        found.append(rival_sentence(rival))
    if not models():
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


def other_animatediff() -> Path | None:
    """The folder of another extension whose script is named as ours, animatediff.py; None when there is none."""
    try:
        loaded = host_module("scripts").scripts_data
    except (ImportError, AttributeError):
        return None
    folders = {Path(data.basedir) for data in loaded if Path(data.path).name == "animatediff.py"}
    return min((folder for folder in folders if folder.resolve() != EXTENSION_FOLDER), default=None)


def rival_sentence(folder: Path) -> str:
    """What to do about the other extension in this folder."""
    return (
        f"Another AnimateDiff extension is installed in {folder} and answers to the same name. Disable {folder.name} on"
        " the Extensions tab and restart the WebUI; until then this one makes no animations."
    )


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # already imported, without a spec
        return True
