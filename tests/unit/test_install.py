"""install.py: what it asks pip for, with and without a WebUI, and that it never raises or changes a pinned package."""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What the hosts pin. A1111 v1.10.1 and dev, Forge main, Forge Classic and Forge legacy agree; reForge (both branches);
# Forge Neo with NumPy 2.
A1111 = {"numpy": "1.26.2", "pillow": "9.5.0"}
REFORGE = {"numpy": "1.26.4", "pillow": "10.4.0"}
NEWER = {"numpy": "2.3.5", "pillow": "12.3.0"}


@pytest.fixture
def installer():
    spec = importlib.util.spec_from_file_location("animatediff_install", ROOT / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Pip:
    """Stands for pip: remembers what it was asked, and what the constraints file held at that time."""

    def __init__(self, error=None):
        self.calls, self.constraints, self.error = [], [], error

    def __call__(self, arguments, description):
        self.calls.append(arguments)
        if "-c" in arguments:
            self.constraints.append(Path(arguments[arguments.index("-c") + 1]).read_text(encoding="utf-8"))
        if self.error:
            raise self.error


def run_as_a_webui(folder, launch):
    """Runs install.py as the WebUI does: a process of its own, PYTHONPATH the WebUI's root."""
    (folder / "launch.py").write_text(launch, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, str(ROOT / "install.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


FAKE_LAUNCH = """
import json, os
HAS = {has!r}
def is_installed(package):
    return package in HAS
def run_pip(command, desc=None, live=False):
    with open(os.path.join({folder!r}, "asked.jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps([command, desc]) + "\\n")
    {after}
"""


def test_nothing_is_done_when_nothing_is_missing(installer, capsys):
    pip = Pip()
    installer.install_missing(lambda module: True, pip)
    assert pip.calls == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("missing", [{"av"}, {"cv2"}, {"av", "cv2"}])
def test_only_what_is_missing_is_installed(installer, missing):
    pip = Pip()
    installer.install_missing(lambda module: module not in missing, pip)
    assert [call[-1] for call in pip.calls] == [
        package.name for package in installer.PACKAGES if package.module in missing
    ]


def test_no_call_can_change_a_package_that_is_there(installer):
    import numpy
    import PIL

    pip = Pip()
    installer.install_missing(lambda module: False, pip)
    av, opencv = pip.calls
    assert av == ["install", "--no-deps", "--only-binary", "av", "av"]
    assert opencv[:2] == ["install", "-c"]
    assert opencv[3:] == ["--only-binary", "opencv-python-headless", "opencv-python-headless"]
    assert pip.constraints == [f"numpy=={numpy.__version__}\npillow=={PIL.__version__}\n"]
    assert not any(word in call for call in pip.calls for word in ("-U", "--upgrade", "--force-reinstall"))
    assert not Path(opencv[2]).exists()


def test_one_failure_does_not_keep_out_the_other(installer, capsys):
    error = RuntimeError(
        "Couldn't install av for AnimateDiff.\nCommand: x\nError code: 1\n"
        "stderr: ERROR: Could not find a version\nERROR: No matching distribution found for av\n"
    )
    pip = Pip(error)
    installer.install_missing(lambda module: False, pip)
    assert len(pip.calls) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0] == (
        "AnimateDiff: av could not be installed (No matching distribution found for av), so there is no MP4, WEBM or "
        "optimised GIF palette. Run `pip install av` in the WebUI's environment."
    )


@pytest.mark.parametrize(
    "error",
    [RuntimeError(""), OSError(2, "no such file"), subprocess.CalledProcessError(1, ["pip"], stderr="ERROR: x\n")],
)
def test_any_failure_is_one_sentence(installer, capsys, error):
    installer.install_missing(lambda module: module != "av", Pip(error))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("AnimateDiff: av could not be installed (")


def test_in_a_webui_its_own_pip_is_used(tmp_path):
    launch = FAKE_LAUNCH.format(has=["numpy"], folder=str(tmp_path), after="return None")
    done = run_as_a_webui(tmp_path, launch)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    asked = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text(encoding="utf-8").splitlines()]
    assert asked[0] == ["install --no-deps --only-binary av av", "av for AnimateDiff"]
    words = shlex.split(asked[1][0], posix=os.name != "nt")
    assert words[:2] == ["install", "-c"]
    assert words[-1] == "opencv-python-headless"
    assert len(asked) == 2


def test_a_webui_that_has_everything_is_left_alone(tmp_path):
    done = run_as_a_webui(tmp_path, FAKE_LAUNCH.format(has=["av", "cv2"], folder=str(tmp_path), after="return None"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "asked.jsonl").exists()


def test_a_webui_whose_pip_fails_starts_all_the_same(tmp_path):
    after = "raise RuntimeError('Error running command.\\nstderr: ERROR: no network')"
    done = run_as_a_webui(tmp_path, FAKE_LAUNCH.format(has=[], folder=str(tmp_path), after=after))
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.count("(no network)") for line in done.stdout.splitlines()] == [1, 1]


@pytest.mark.parametrize(
    "launch", ["raise RuntimeError('broken')", "raise SystemExit(2)", "import sys; sys.exit('no')"]
)
def test_a_launch_that_breaks_is_one_sentence(tmp_path, launch):
    done = run_as_a_webui(tmp_path, launch)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("AnimateDiff: its packages could not be checked")


def test_a_launch_that_is_not_a_webuis_is_not_used(tmp_path, installer, monkeypatch):
    (tmp_path / "launch.py").write_text("x = 1", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "launch", raising=False)
    assert installer.ways_to_install() == (installer.own_is_installed, installer.own_run_pip)
    monkeypatch.delitem(sys.modules, "launch", raising=False)


def test_without_a_webui_plain_pip_is_run(installer, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "launch", None)
    commands = []
    monkeypatch.setattr(installer, "own_is_installed", lambda module: module != "av")
    monkeypatch.setattr(installer.subprocess, "run", lambda command, **_: commands.append(command))
    installer.main()
    assert commands == [
        [sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary", "av", "av", "--prefer-binary"]
    ]
    assert capsys.readouterr().out == "Installing av for AnimateDiff\n"


def test_its_own_way_to_look(installer):
    assert installer.own_is_installed("json")
    assert not installer.own_is_installed("no_such_module_at_all")


def index_is_there():
    """Whether pip can look a package up at all."""
    command = [sys.executable, "-m", "pip", "index", "versions", "av", "--retries", "0", "--timeout", "10"]
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.mark.parametrize(("python", "pins"), [("3.10", A1111), ("3.12", REFORGE), ("3.13", NEWER)])
def test_a_dry_run_of_pip_leaves_pinned_versions_alone(tmp_path, installer, python, pins):
    """Resolves for each Python with a host's pins; nothing is downloaded but metadata, nothing installed."""
    if not index_is_there():
        pytest.skip("no package index can be reached")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
    report = tmp_path / "report.json"
    for package in installer.PACKAGES:
        # For another Python pip wants a target folder and wheels only; both packages are asked for as wheels anyway.
        other = ["--python-version", python, "--target", str(tmp_path / "target"), "--only-binary", ":all:"]
        dry = ["--dry-run", "--quiet", "--ignore-installed", "--report", str(report)]
        command = [sys.executable, "-m", "pip", *installer.pip_arguments(package, str(constraints)), *other, *dry]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        chosen = {
            entry["metadata"]["name"].lower(): entry["metadata"]["version"]
            for entry in json.loads(report.read_text(encoding="utf-8"))["install"]
        }
        assert package.name in chosen
        assert set(chosen) <= {package.name, "numpy"}
        assert chosen.get("numpy", pins["numpy"]) == pins["numpy"]
        if package.name == "av":
            assert int(chosen["av"].split(".")[0]) >= 10
