"""Loads a script file as a module named by its file, as A1111 does."""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType

from modules import errors

loaded_scripts: dict[str, ModuleType] = {}


def load_module(path: str) -> ModuleType:
    """Execute the file in a new module; the module is not put into sys.modules."""
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded_scripts[path] = module
    return module


def preload_extensions(folders: list[str], parser) -> None:
    """Let each extension's preload.py add its flags to the command line."""
    for folder in folders:
        path = os.path.join(folder, "preload.py")
        if not os.path.isfile(path):
            continue
        try:
            getattr(load_module(path), "preload", lambda _: None)(parser)
        except Exception:  # noqa: BLE001 - one extension must not stop the host
            errors.report(f"Error running preload() for {path}", exc_info=True)
