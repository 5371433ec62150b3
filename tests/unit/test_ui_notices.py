"""What the panel warns of."""

import importlib.util
from types import SimpleNamespace

import pytest

from lib_animatediff.ui.notices import notices, other_animatediff, rival_sentence
from lib_animatediff.ui.settings import EXTENSION_FOLDER
from tests.unit import fake_modules


@pytest.fixture
def host(monkeypatch):
    return fake_modules.install(monkeypatch)


@pytest.fixture
def everything_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def script(folder, name="animatediff.py"):
    return SimpleNamespace(path=str(folder / "scripts" / name), basedir=str(folder))


@pytest.mark.usefixtures("everything_installed")
def test_nothing_to_say_when_all_is_well(host):
    host.scripts.scripts_data.append(script(EXTENSION_FOLDER))
    assert notices(lambda: ["mm.ckpt"]) == []


@pytest.mark.usefixtures("everything_installed")
def test_the_other_extension_is_named(host, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    other, ours = tmp_path / "sd-webui-animatediff", tmp_path / "animatediff"
    other.symlink_to(tmp_path / "elsewhere")  # the Extensions tab knows a linked folder by its link's name
    ours.symlink_to(EXTENSION_FOLDER)
    host.scripts.scripts_data += [script(ours), script(other), script(tmp_path / "else", "else.py")]
    assert other_animatediff() == other
    [sentence] = notices(lambda: ["mm.ckpt"])
    assert sentence == rival_sentence(other)
    assert str(other) in sentence
    assert "Disable sd-webui-animatediff" in sentence


@pytest.mark.usefixtures("everything_installed")
def test_the_folder_for_motion_modules_is_named(host, tmp_path):
    host.shared.opts.data["animatediff_model_path"] = str(tmp_path)
    [sentence] = notices(list)
    assert str(tmp_path) in sentence


def test_missing_packages_are_named_with_what_they_are_for(host, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    [sentence] = notices(lambda: ["mm.ckpt"])
    assert "MP4 and WEBM" in sentence
    assert "pip install av opencv-python" in sentence
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "av" else None)
    assert "MP4" not in notices(lambda: ["mm.ckpt"])[0]


@pytest.mark.usefixtures("everything_installed")
def test_the_hosts_problem_comes_first(host):
    assert notices(list, "This WebUI is unknown.")[0] == "This WebUI is unknown."


def test_outside_a_host_there_is_no_other_extension():
    assert other_animatediff() is None
