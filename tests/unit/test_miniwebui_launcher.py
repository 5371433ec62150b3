"""`python -m miniwebui` and `python -m tests`: environments, the host's process, the animation of the first start."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from miniwebui import demo, environment, server
from tests import __main__ as runner_of_tests


def test_environment_is_made_once(tmp_path, monkeypatch):
    calls = []
    made = tmp_path / ".venv" / "x"

    def run(command, what):
        calls.append(what)
        if "venv" in command:
            python = environment.python_of(made)
            python.parent.mkdir(parents=True)
            python.write_text("", encoding="utf8")

    monkeypatch.setattr(environment, "REPOSITORY", tmp_path)
    monkeypatch.setattr(environment, "_run", run)
    monkeypatch.setattr(environment, "_usable", lambda python: python.is_file())
    assert environment.ensure("x", ["gradio4.txt"]) == environment.python_of(made)
    assert len(calls) == 3
    environment.ensure("x", ["gradio4.txt"])
    assert len(calls) == 3
    environment.ensure("x", ["gradio4.txt", "tests.txt"])
    assert len(calls) == 5


def test_digest_follows_included_files(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path)
    (tmp_path / "a.txt").write_text("-r b.txt\none==1\n", encoding="utf8")
    (tmp_path / "b.txt").write_text("two==1\n", encoding="utf8")
    before = environment._digest(["a.txt"])
    (tmp_path / "b.txt").write_text("two==2\n", encoding="utf8")
    assert environment._digest(["a.txt"]) != before


def test_every_requirement_is_pinned():
    for path in environment.REQUIREMENTS.glob("*.txt"):
        for line in path.read_text(encoding="utf8").splitlines():
            assert line.startswith(("#", "-r ")) or "==" in line.split(";")[0], f"{path.name}: {line}"


def test_failing_installation_is_an_error_that_names_the_step():
    with pytest.raises(environment.EnvironmentFailedError, match="Counting failed with exit code 3"):
        environment._run([sys.executable, "-c", "raise SystemExit(3)"], "Counting")


def test_python_too_new_for_old_gradio(monkeypatch):
    monkeypatch.setattr(environment.sys, "version_info", (3, 13, 0))
    with pytest.raises(environment.EnvironmentFailedError, match=r"Python 3\.12"):
        environment.environment_for("3")
    monkeypatch.setattr(environment.sys, "version_info", (3, 9, 0))
    with pytest.raises(environment.EnvironmentFailedError, match="another interpreter"):
        environment.check_python()


def test_host_that_ends_shows_its_last_lines(tmp_path, monkeypatch):
    script = tmp_path / "host.py"
    script.write_text("print('cannot go on')\nraise SystemExit(4)\n", encoding="utf8")
    monkeypatch.setattr(server, "WEBUI", script)
    with pytest.raises(server.ServerFailedError, match=r"(?s)code 4.*cannot go on"):
        server.start(log=tmp_path / "log")


def test_host_that_never_answers_is_ended(tmp_path, monkeypatch):
    script = tmp_path / "host.py"
    script.write_text("import time\nprint('waiting', flush=True)\ntime.sleep(60)\n", encoding="utf8")
    monkeypatch.setattr(server, "WEBUI", script)
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(server.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    with pytest.raises(server.ServerFailedError, match="did not start"):
        server.start(log=tmp_path / "log", timeout=1)
    assert started[0].poll() is not None


def test_demo_takes_a_motion_module_the_host_lists(monkeypatch):
    scripts = [
        {"name": "seed", "args": [{"label": "Motion module", "choices": ["wrong"]}]},
        {"name": "animatediff", "args": [{"label": "Motion module", "choices": ["a_v1.ckpt", "b_v3.ckpt"]}]},
    ]
    monkeypatch.setattr(demo.server, "request", lambda url, *a, **k: scripts)
    assert demo.motion_module("http://x") == "b_v3.ckpt"
    scripts.pop()
    with pytest.raises(RuntimeError, match="no motion module"):
        demo.motion_module("http://x")


def test_demo_prints_the_files_that_are_new(monkeypatch, tmp_path, capsys):
    old, new = tmp_path / "old.gif", tmp_path / "sub" / "new.gif"
    old.write_bytes(b"x")

    def request(url, body=None, **kwargs):
        if url.endswith("/options"):
            return {"outdir_txt2img_samples": str(tmp_path)}
        if url.endswith("/script-info"):
            return [{"name": "animatediff", "args": [{"label": "Motion module", "choices": ["m"]}]}]
        if body is not None:
            assert json.loads(json.dumps(body))["alwayson_scripts"]["AnimateDiff"]["args"][0]["video_length"] == 4
            new.parent.mkdir()
            new.write_bytes(b"y")
        return {"progress": 0, "state": {}}

    monkeypatch.setattr(demo.server, "request", request)
    assert demo.main(["--url", "http://x/", "--frames", "4"]) == 0
    printed = capsys.readouterr().out
    assert str(new) in printed
    assert str(old) not in printed


def test_test_runner_counts_failures(monkeypatch, capsys):
    codes = iter([0, 1])
    monkeypatch.setattr(runner_of_tests.subprocess, "run", lambda *a, **k: SimpleNamespace(returncode=next(codes)))
    runner = runner_of_tests.Runner(["-x"])
    runner.run("one", Path("python"), ["unit"])
    runner.skip("page", "no Chromium")
    assert runner.report() == 0
    runner.run("two", Path("python"), ["unit"])
    assert runner.report() == 1
    assert "skipped: no Chromium" in capsys.readouterr().out


def test_chromium_is_taken_from_the_environment(monkeypatch, tmp_path):
    browser = tmp_path / "chrome"
    browser.write_text("", encoding="utf8")
    monkeypatch.setenv("CHROMIUM", str(browser))
    assert runner_of_tests.find_chromium() == str(browser)
