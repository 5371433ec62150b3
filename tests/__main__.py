"""`python -m tests`: makes the environments on first use and runs all tests; other arguments go to pytest.

Unit, golden and live tests run with Gradio 4.40; the page is tested in a headless Chromium with Gradio 4.40 and 3.41.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from miniwebui import environment

SUITES = ("unit", "golden", "live")
BROWSER = "browser"
NO_TESTS_COLLECTED = 5
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)


def find_chromium() -> str | None:
    """A Chromium on this machine: $CHROMIUM, one on PATH, or one where installers put it."""
    given = os.environ.get("CHROMIUM")
    found = [given] if given else [shutil.which(x) for x in _NAMES]
    return next((x for x in [*found, *_PLACES] if x and Path(x).is_file()), None)


def present(suite: str) -> bool:
    """True if the suite has tests."""
    return any((environment.REPOSITORY / "tests" / suite).glob("**/test_*.py"))


def install_chromium() -> None:
    """Debian and Ubuntu, as root: the package of the system."""
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        print("[tests] --install-chromium works as root on Debian and Ubuntu only.", flush=True)
        return
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]):
        if subprocess.run(command, check=False).returncode != 0:
            print(f"[tests] {' '.join(command)} failed.", flush=True)
            return


class Runner:
    """Runs pytest in an environment and keeps the outcomes."""

    def __init__(self, extra: list[str]) -> None:
        self.extra = extra
        self.outcomes: list[tuple[str, str]] = []

    def run(self, title: str, python: Path, folders: list[str], **variables: str) -> None:
        """One pytest process over folders of tests/."""
        paths = [f"tests/{x}" for x in folders]
        print(f"[tests] {title}: {' '.join(paths)}", flush=True)
        started = time.monotonic()
        command = [str(python), "-m", "pytest", *paths, *self.extra]
        code = subprocess.run(
            command, cwd=environment.REPOSITORY, env={**os.environ, **variables}, check=False
        ).returncode
        result = "passed" if code in (0, NO_TESTS_COLLECTED) else f"FAILED (exit code {code})"
        self.outcomes.append((title, f"{result} in {time.monotonic() - started:.0f} s"))

    def skip(self, title: str, reason: str) -> None:
        self.outcomes.append((title, f"skipped: {reason}"))

    def report(self) -> int:
        print("\n[tests] Summary")
        for title, outcome in self.outcomes:
            print(f"[tests]   {title}: {outcome}")
        return 1 if any("FAILED" in outcome for _, outcome in self.outcomes) else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--suite", action="append", choices=[*SUITES, BROWSER], help="run only this suite; may be repeated"
    )
    parser.add_argument("--install-chromium", action="store_true", help="install Chromium if it is missing (Debian)")
    own, extra = parser.parse_known_args()
    suites = [x for x in own.suite or [*SUITES, BROWSER] if present(x)]
    runner = Runner(extra)
    try:
        python = environment.environment_for("4", tests=True)
    except environment.EnvironmentFailedError as error:
        print(f"tests: {error}", file=sys.stderr)
        return 1
    plain = [x for x in SUITES if x in suites]
    if plain:
        runner.run("Gradio 4.40, Python tests", python, plain)
    if BROWSER in suites:
        chromium = find_chromium()
        if chromium is None and own.install_chromium:
            install_chromium()
            chromium = find_chromium()
        for gradio, version in (("4", "4.40"), ("3", "3.41")):
            title = f"Gradio {version}, browser tests"
            if chromium is None:
                runner.skip(title, "no Chromium found; install one, set CHROMIUM, or pass --install-chromium")
                continue
            try:
                python = environment.environment_for(gradio, tests=True)
            except environment.EnvironmentFailedError as error:
                runner.skip(title, str(error))
                continue
            runner.run(title, python, [BROWSER], CHROMIUM=chromium)
    return runner.report()


if __name__ == "__main__":
    sys.exit(main())
