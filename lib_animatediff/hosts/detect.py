"""Which adapter serves the WebUI we run in: found by what its engine can do, never by its name."""

from __future__ import annotations

import importlib.util
import sys

from lib_animatediff.hosts.protocol import Host

UNKNOWN_HOST = (
    "AnimateDiff does not know this WebUI's engine, so it cannot animate here. It serves AUTOMATIC1111 v1.10 and the "
    "Forge family; the README has the list."
)


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def detect_host() -> Host | None:
    """The adapter for the running WebUI, or None for an engine nobody has tried this extension on."""
    if not _importable("modules.sd_samplers_cfg_denoiser") or not _has_sampling_hook():
        return None
    if _importable("modules_forge") and (_importable("backend.patcher") or _importable("ldm_patched.modules")):
        from lib_animatediff.hosts.forge import Forge

        return Forge()
    if _importable("ldm.modules") and hasattr(sys.modules.get("modules.sd_models"), "apply_alpha_schedule_override"):
        from lib_animatediff.hosts.a1111 import A1111

        return A1111()
    return None


def _has_sampling_hook() -> bool:
    from modules.scripts import Script

    return hasattr(Script, "process_before_every_sampling")
