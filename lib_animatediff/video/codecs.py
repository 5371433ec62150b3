"""PyAV, imported only when it is used, so that everything else works without it."""

from __future__ import annotations

import importlib
from types import ModuleType

from lib_animatediff.errors import UnsupportedError


def pyav() -> ModuleType:
    """The ``av`` module. Raises UnsupportedError, saying how to install it, where it is missing or does not load."""
    try:
        return importlib.import_module("av")
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise UnsupportedError(_broken(error)) from error
        raise UnsupportedError(
            "PyAV is not installed. Run `pip install av` in the WebUI's environment and restart it."
        ) from error
    except ImportError as error:
        raise UnsupportedError(_broken(error)) from error


def _broken(error: ImportError) -> str:
    return (
        f"PyAV is installed but does not load ({error}). "
        "Run `pip install --force-reinstall --no-deps av` in the WebUI's environment and restart it."
    )
