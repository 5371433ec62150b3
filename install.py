"""Run by the WebUI at its start: installs the packages the extension needs and the WebUI does not bring.

Only what is missing is installed, and no package that is there already is changed: a WebUI pins NumPy and Pillow. A
failure is one printed sentence, because the WebUI and the other formats work without these packages.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import NamedTuple


class Package(NamedTuple):
    module: str
    name: str
    purpose: str
    alone: bool
    """Whether it works without the packages it names as its dependencies, so that pip need not look at them."""


PACKAGES = (
    Package("av", "av", "MP4, WEBM or optimised GIF palette", alone=True),
    Package("cv2", "opencv-python-headless", "interpolation by optical flow", alone=False),
)
PINNED = ("numpy", "pillow")

IsInstalled = Callable[[str], bool]
RunPip = Callable[[list[str], str], None]


def pip_arguments(package: Package, constraints: str) -> list[str]:
    """What follows ``pip`` to install a package; ``constraints`` is a file that holds the versions not to change.

    Wheels only: building PyAV or OpenCV at the start of a WebUI takes long and mostly fails.
    """
    dependencies = ["--no-deps"] if package.alone else ["-c", constraints]
    return ["install", *dependencies, "--only-binary", package.name, package.name]


def pins() -> str:
    """The lines of a constraints file that keep the pinned packages at the versions that are installed."""
    lines = []
    for name in PINNED:
        try:
            lines.append(f"{name}=={importlib.metadata.version(name)}\n")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "".join(lines)


def install_missing(is_installed: IsInstalled, run_pip: RunPip) -> None:
    """Installs each missing package on its own, so that one that fails does not keep out the other."""
    missing = [package for package in PACKAGES if not is_installed(package.module)]
    if not missing:
        return
    with tempfile.TemporaryDirectory(prefix="animatediff-") as folder:
        constraints = os.path.join(folder, "constraints.txt")
        with open(constraints, "w", encoding="utf-8") as file:
            file.write(pins())
        for package in missing:
            try:
                run_pip(pip_arguments(package, constraints), f"{package.name} for AnimateDiff")
            except Exception as error:  # noqa: BLE001 - a host's installer can fail in any way
                print(
                    f"AnimateDiff: {package.name} could not be installed ({reason(error)}), so there is no "
                    f"{package.purpose}. Run `pip install {package.name}` in the WebUI's environment."
                )


def reason(error: BaseException) -> str:
    """The one line of a failed command that says why: pip's last "ERROR:", else the first line of all."""
    text = "\n".join(str(part) for part in (getattr(error, "stderr", None), error) if part)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.split("ERROR:", 1)[1].strip() for line in lines if "ERROR:" in line]
    return (errors[-1:] or lines[:1] or [type(error).__name__])[0].rstrip(".")


def own_is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def own_run_pip(arguments: list[str], description: str) -> None:
    print(f"Installing {description}")
    command = [sys.executable, "-m", "pip", *arguments, "--prefer-binary"]
    subprocess.run(command, check=True, capture_output=True, text=True)


def ways_to_install() -> tuple[IsInstalled, RunPip]:
    """The WebUI's own functions, which know its index and its --skip-install; plain pip outside a WebUI."""
    try:
        import launch  # noqa: PLC0415 - only there when a WebUI runs this

        is_installed, host_run_pip = launch.is_installed, launch.run_pip
    except (ImportError, AttributeError):
        return own_is_installed, own_run_pip

    def run_pip(arguments: list[str], description: str) -> None:
        quote = subprocess.list2cmdline if os.name == "nt" else shlex.join
        host_run_pip(quote(arguments), description)

    return is_installed, run_pip


def main() -> None:
    try:
        install_missing(*ways_to_install())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - nothing here may keep the WebUI from starting
        print(f"AnimateDiff: its packages could not be checked ({reason(error)}). Videos may not be written.")


# The WebUI runs this file as a program.
if __name__ == "__main__":
    main()
