"""Hosts with flags, files or extensions of their own: miniwebui, started for one test each."""

import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from miniwebui import server
from tests.live import media
from tests.live.client import Host, choices_of
from tests.live.conftest import PROBE_EXTENSION, ROOT
from tests.live.malformed_files import write_malformed_files

OTHER_KINDS = re.compile(
    r"(empty|text|page|pointer|picture|no tensors|unknown tensors|lora|motion lora|controlnet|checkpoint|vae|embedding|"
    r"upscaler)\.safetensors"
)
RIVAL = """
from modules import scripts
import gradio as gr


class Script(scripts.Script):
    def title(self):
        return "AnimateDiff"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.State(value=None)]

    def postprocess(self, p, processed, *args):
        processed.comments += "the rival ran"
"""


@pytest.fixture
def start(request, tmp_path):
    """Starts miniwebui with flags of its own: ``with start("--lowvram") as host``."""
    if request.config.getoption("--webui-url"):
        pytest.skip("the host under test was started by someone else, with flags of their own")

    @contextmanager
    def started(*flags: str, data: Path = tmp_path):
        arguments = ["--data-dir", str(data), "--extension", str(ROOT), "--extension", str(PROBE_EXTENSION)]
        arguments += [*request.config.getoption("--miniwebui-flags").split(), *flags]
        with server.start(arguments, log=data / "miniwebui.log") as running:
            yield Host(running.url)

    return started


@pytest.mark.parametrize("flag", ["--medvram", "--lowvram"])
def test_low_memory_modes_give_the_same_frames(host, modules, start, flag):
    names = [modules.v1, modules.v3]
    wanted = {name: host.animate(model=name).frames for name in names}
    windows = {"video_length": 6, "batch_size": 4, "overlap": 2}
    wanted_windows = host.animate(**windows).frames
    with start(flag) as low:
        low.model = host.model
        before, state = low.plain(), low.probe_state()["model"]
        assert media.difference(before, host.plain()) <= 1
        for name in names:
            assert media.difference(low.animate(model=name).frames, wanted[name]) <= 1
        assert media.difference(low.animate(**windows).frames, wanted_windows) <= 1
        fault = {"fault": {"where": "unet", "call": 2}}
        assert low.try_animate(probe=fault).status == 500
        assert media.difference(low.plain(), before) == 0
        assert low.probe_state()["model"] == state


def test_another_animatediff_beside_ours_is_named_and_nothing_runs_twice(start, modules, tmp_path):
    rival = tmp_path / "sd-webui-animatediff"
    (rival / "scripts").mkdir(parents=True)
    (rival / "scripts" / "animatediff.py").write_text(RIVAL, encoding="utf-8")
    data = tmp_path / "data"
    data.mkdir()
    with start("--extension", str(rival), data=data) as host:
        page = host.call("/config").text()
        assert "sd-webui-animatediff" in page
        before = host.plain()
        answers = [host.try_animate(model=modules.v3), host.try_txt2img(host.body())]
        assert answers[0].status == 422
        assert "sd-webui-animatediff" in answers[0].error()
        assert answers[1].status == 200
        assert media.difference(host.plain(), before) == 0


def test_the_list_of_motion_modules_goes_by_what_the_files_are(start, modules, module_folder, tmp_path):
    good = (module_folder / modules.v3).read_bytes()
    folder = tmp_path / "models" / "animatediff"
    (folder / "deep" / "down").mkdir(parents=True)
    malformed = write_malformed_files(good, folder)
    well_named = ["xl_sdxl_hotshot.safetensors", "lora.v3.safetensors", "deep/down/any name.safetensors"]
    for name in well_named:
        shutil.copy(module_folder / modules.v3, folder / name)
    with start() as host:
        names = choices_of(host.script_info()[0], "Motion module")
        assert set(well_named) <= {name.replace("\\", "/") for name in names}
        # damaged motion modules are listed, so that choosing one says what is wrong; so are PyTorch's slow formats
        assert not {name for name in malformed if OTHER_KINDS.match(name)} & set(names)
        assert len(host.animate(model="deep/down/any name.safetensors").data) == host.frames


def test_a_host_without_any_motion_module_says_where_to_put_one(start, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with start() as host:
        host.set_options(animatediff_model_path=str(empty))
        answer = host.try_animate(model="mm_sd15_v3.safetensors")
        assert answer.status == 422
        assert str(empty) in answer.error()
        assert len(host.plain()) == 1
