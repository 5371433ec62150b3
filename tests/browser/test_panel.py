"""The panel before anything is generated, its buttons, and how it takes infotext."""

import re
import shutil

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
    inner = ["FreeInit Params", "I2V Traditional"][: 2 if name == "img2img" else 1]
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


def test_refresh_finds_a_new_motion_module(webui, session_host, module_folder, modules):
    panel = webui.txt2img.panel
    panel.open()
    log = module_folder.parents[1] / "miniwebui.log"
    loads = lambda: len(re.findall(r"(?m)^Model .* loaded in", log.read_text("utf8")))  # noqa: E731
    new = module_folder / "a_new_one.safetensors"
    panel.set(model=modules.v2)
    try:
        session_host.post("/sdapi/v1/unload-checkpoint", {})
        before = loads() if log.is_file() else None
        shutil.copy(module_folder / modules.v1, new)
        assert new.name not in panel.models()
        webui.page.keyboard.press("Escape")
        panel.element("refresh-motion-module").click()
        panel.expect_model_listed(new.name)
        panel.expect(model=modules.v2)
        panel.set(model=new.name)
        panel.expect(model=new.name)
        if before is not None:
            assert loads() == before, "the refresh button loaded a checkpoint"
    finally:
        new.unlink(missing_ok=True)
        session_host.post("/sdapi/v1/reload-checkpoint", {})
    if before is not None:
        assert loads() > before, "the host's log no longer says when a checkpoint is loaded"


def test_refresh_says_when_there_is_none(webui, module_folder, tmp_path):
    panel = webui.txt2img.panel
    panel.open()
    kept = [path for path in module_folder.iterdir() if path.is_file()]
    for path in kept:
        shutil.move(path, tmp_path / path.name)
    try:
        panel.element("refresh-motion-module").click()
        expect(panel.element("notice")).to_contain_text("There is no motion module in")
    finally:
        for path in kept:
            shutil.move(tmp_path / path.name, path)
    panel.element("refresh-motion-module").click()
    expect(panel.element("notice")).to_be_hidden()
