"""Folders of the host, known before any argument but --data-dir and --models-dir is read."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

sys.argv += shlex.split(os.environ.get("COMMANDLINE_ARGS", ""))


def normalized_filepath(path: str) -> str:
    """An absolute form of a path given on the command line."""
    return str(Path(path).absolute())


cwd = os.getcwd()
modules_path = str(Path(__file__).resolve().parent)
script_path = str(Path(modules_path).parent)
repository_path = str(Path(script_path).parent.parent)
default_data_path = str(Path(repository_path) / ".cache" / "miniwebui")

_early = argparse.ArgumentParser(add_help=False)
_early.add_argument("--data-dir", type=normalized_filepath, default=default_data_path)
_early.add_argument("--models-dir", type=normalized_filepath, default=None)
_known = _early.parse_known_args()[0]

data_path = _known.data_dir
models_path = _known.models_dir or os.path.join(data_path, "models")
extensions_dir = str(Path(data_path, "extensions"))
default_output_dir = os.path.join(repository_path if data_path == default_data_path else data_path, "output")
