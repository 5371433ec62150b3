"""What extensions and their installers import from the host's launcher."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

script_path = os.path.dirname(os.path.realpath(__file__))
python = sys.executable


def is_installed(package: str) -> bool:
    """True if a distribution or a module of this name is there."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        try:
            return importlib.util.find_spec(package) is not None
        except (ImportError, ValueError):
            return False
    return True


def run(command: str, desc: str | None = None, errdesc: str | None = None) -> str:
    """Run a shell command; its output, or an error that shows it."""
    if desc:
        print(desc, flush=True)
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{errdesc or 'Error running command'}.\n{command}\n{result.stdout}\n{result.stderr}")
    return result.stdout


def run_pip(command: str, desc: str | None = None, live: bool = False) -> str:
    """Run pip in this environment."""
    del live
    return run(f'"{python}" -m pip {command} --prefer-binary', f"Installing {desc}", f"Couldn't install {desc}")


@lru_cache
def git_tag() -> str:
    """Version of the program for infotexts: the first heading of the repository's change log that names one."""
    changes = Path(script_path).parent.parent / "CHANGELOG.md"
    if changes.is_file():
        for line in changes.read_text(encoding="utf8").splitlines():
            if line.startswith("## ") and any(x.isdigit() for x in line):
                return "miniwebui-" + line.split()[1].strip("[]")
    return "miniwebui"
