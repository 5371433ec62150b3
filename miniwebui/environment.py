"""Virtual environments under .venv/, made on first use and remade when their requirements change.

Only the standard library: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
OLDEST, NEWEST = (3, 10), (3, 13)
# Newest Python each Gradio set has wheels for: numpy 1.26, which Gradio 3.41 is used with, ends at 3.12.
GRADIO_SETS = {"4": ("gradio4.txt", (3, 13)), "3": ("gradio3.txt", (3, 12))}


class EnvironmentFailedError(Exception):
    """An environment could not be made; the message says what to do."""


def check_python() -> None:
    """Refuse a Python for which no wheels exist."""
    have = sys.version_info[:2]
    if not OLDEST <= have <= NEWEST:
        raise EnvironmentFailedError(
            f"This needs Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}, and runs on "
            f"{have[0]}.{have[1]}: start it with another interpreter, for example `python3.11 -m miniwebui`."
        )


def python_of(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _say(text: str) -> None:
    print(f"[setup] {text}", flush=True)


def _digest(names: Sequence[str]) -> str:
    """Changes with the Python version and with any of the requirement files, included ones too."""
    seen: list[str] = []
    todo = list(names)
    result = hashlib.sha256(f"{sys.version_info[:2]} {sys.platform}".encode())
    while todo:
        name = todo.pop(0)
        if name in seen:
            continue
        seen.append(name)
        text = (REQUIREMENTS / name).read_text(encoding="utf8")
        result.update(text.encode())
        todo += [line.split(maxsplit=1)[1].strip() for line in text.splitlines() if line.startswith("-r ")]
    return result.hexdigest()


def _run(command: list[str], what: str) -> None:
    started = time.monotonic()
    _say(f"{what} ...")
    code = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    if code != 0:
        raise EnvironmentFailedError(f"{what} failed with exit code {code}; the lines above say why.")
    _say(f"{what}: done in {time.monotonic() - started:.0f} s")


def ensure(name: str, requirements: Sequence[str], no_deps: Sequence[str] = ("no-deps.txt",)) -> Path:
    """The interpreter of .venv/<name>, with these requirement files installed; pip shows its progress.

    `no_deps` files are installed afterwards without the dependencies their packages ask for.
    """
    check_python()
    folder = REPOSITORY / ".venv" / name
    stamp = folder / "installed.json"
    wanted = {"digest": _digest([*requirements, *no_deps])}
    python = python_of(folder)
    if python.is_file() and stamp.is_file() and json.loads(stamp.read_text(encoding="utf8")) == wanted:
        return python
    if not _usable(python):
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)], f"Making the environment {folder}")
        if not _usable(python):
            raise EnvironmentFailedError(
                f"{folder} has no pip. On Debian and Ubuntu install the package python3-venv, remove the folder "
                "and start again."
            )
    stamp.unlink(missing_ok=True)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--prefer-binary"]
    files = [x for name in requirements for x in ("-r", str(REQUIREMENTS / name))]
    _run([*pip, *files], f"Installing {', '.join(requirements)} (on the first start this loads about 1 GB)")
    for file in no_deps:
        _run([*pip, "--no-deps", "-r", str(REQUIREMENTS / file)], f"Installing {file}")
    stamp.write_text(json.dumps(wanted), encoding="utf8")
    return python


def _usable(python: Path) -> bool:
    """True if the environment has a running interpreter of this version, with pip."""
    if not python.is_file():
        return False
    code = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0


def environment_for(gradio: str, *, tests: bool = False) -> Path:
    """The interpreter of the environment with this Gradio ("4" or "3"), with the tests' packages if asked."""
    file, newest = GRADIO_SETS[gradio]
    if sys.version_info[:2] > newest:
        raise EnvironmentFailedError(
            f"The Gradio {gradio} set needs Python {newest[0]}.{newest[1]} or older (numpy 1.26 has no newer wheels)."
        )
    name = "miniwebui" if gradio == "4" else f"miniwebui-gradio{gradio}"
    if tests or (REPOSITORY / ".venv" / name / "tests").is_file():
        python = ensure(name, [file, "tests.txt"])
        (REPOSITORY / ".venv" / name / "tests").touch()
        return python
    return ensure(name, [file])
