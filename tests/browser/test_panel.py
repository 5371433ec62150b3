"""The panel before anything is generated, its buttons, and how it takes infotext."""

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.live.test_page import LABELS, LABELS_IMG2IMG

PLAIN_INFOTEXT = "a plain dog\nSteps: 3, Sampler: Euler, CFG scale: 5, Seed: 7, Size: 128x128"
MEMORY_BUTTONS = ("Move motion module to CPU (default if lowvram)", "Remove motion module from any memory")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["txt2img", "img2img"])
def test_accordion(open_page, name, theme):
    webui = open_page(theme)
    panel = webui.open_tab(name).panel
    assert not panel.is_open()
    expect(panel.accordion.locator(".label-wrap").first).to_contain_text("AnimateDiff")
    panel.open()
    for suffix, label in {**LABELS, **(LABELS_IMG2IMG if name == "img2img" else {})}.items():
        expect(panel.element(suffix)).to_be_visible()
        expect(panel.element(suffix)).to_contain_text(label)
    inner = ["Context windows", "Motion", "Prompt travel", "FreeInit Params"]
    if name == "img2img":
        inner.append("I2V Traditional")
    assert [text.split("\n")[0] for text in panel.accordion.locator(".label-wrap").all_inner_texts()[1:]] == inner
    for button in MEMORY_BUTTONS:
        expect(panel.accordion.get_by_role("button", name=button)).to_be_visible()
    expect(panel.element("notice")).to_be_hidden()


def test_no_latent_fields_in_txt2img(webui):
    for suffix in LABELS_IMG2IMG:
        expect(webui.txt2img.panel.element(suffix)).to_have_count(0)


def test_plain_infotext_leaves_animatediff_alone(webui):
    tab = webui.txt2img
    tab.panel.open()
    changed = {"enable": True, "video_length": 6, "fps": 5, "closed_loop": "A", "format": ["WEBP"], "interp_x": 3}
    tab.panel.set(**changed)
    tab.paste(PLAIN_INFOTEXT)
    expect(webui.page.locator("#txt2img_steps input[type=number]")).to_have_value("3")
    tab.panel.expect(**changed)
    tab.panel.set(enable=False)
    tab.paste(PLAIN_INFOTEXT)
    tab.panel.expect(**changed | {"enable": False})


@pytest.fixture
def own_folder(options, module_folder, modules, tmp_path) -> Path:
    """A folder of motion modules for one test, with the names that the page knows."""
    for name in (modules.v1, modules.v2, modules.v3):
        shutil.copy(module_folder / name, tmp_path)
    options(animatediff_model_path=str(tmp_path))
    return tmp_path


def test_refresh_finds_a_new_motion_module(webui, own_folder, module_folder, modules):
    panel = webui.txt2img.panel
    panel.open()
    panel.set(model=modules.v2)
    before = checkpoint_loads(module_folder)
    names = panel.models()
    shutil.copy(own_folder / modules.v1, own_folder / "a_new_one.safetensors")
    assert panel.models() == names
    panel.press_refresh()
    assert panel.models() == ["a_new_one.safetensors", *names]
    panel.expect(model=modules.v2)
    panel.set(model="a_new_one.safetensors")
    panel.expect(model="a_new_one.safetensors")
    assert checkpoint_loads(module_folder) == before


def test_choosing_after_refresh(webui, own_folder, modules):
    panel = webui.txt2img.panel
    panel.open()
    panel.set(model=modules.v2)
    shutil.copy(own_folder / modules.v1, own_folder / "a_new_one.safetensors")
    panel.press_refresh()
    panel.set(model=modules.v1)
    expect(panel.field("model").locator("input").first).to_have_value(modules.v1, timeout=5000)


def checkpoint_loads(module_folder: Path) -> int | None:
    """How often the miniwebui that these tests started says it loaded a checkpoint; None for another host."""
    log = module_folder.parents[1] / "miniwebui.log"
    if not log.is_file():
        return None
    loads = len(re.findall(r"(?m)^Model .* loaded in", log.read_text("utf8")))
    assert loads > 0, "the host's log no longer says when it loads a checkpoint"
    return loads


def test_refresh_says_when_there_is_none(webui, options, tmp_path):
    panel = webui.txt2img.panel
    panel.open()
    options(animatediff_model_path=str(tmp_path))
    panel.press_refresh()
    expect(panel.element("notice")).to_contain_text(f"There is no motion module in {tmp_path}")
