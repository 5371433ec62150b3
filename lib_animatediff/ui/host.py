"""The host's own UI helpers, imported when they are used: tests and other programs build the panel without a host."""

from __future__ import annotations

import importlib
from typing import Any


def host_module(name: str) -> Any:
    """The host's module `modules.<name>`. Raises ImportError where there is none."""
    return importlib.import_module(f"modules.{name}")


def host_class(module: str, name: str, otherwise: Any) -> Any:
    """A class of one of the host's modules, or `otherwise` where this host does not have it."""
    try:
        return getattr(host_module(module), name, otherwise)
    except ImportError:
        return otherwise
