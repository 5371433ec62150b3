"""What comes into the gallery when Generate is pressed."""

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from tests.browser.webui_page import file_name

SMALL = {"steps": 2, "width": 128, "height": 128, "seed": 1}
MP4 = 'video/mp4; codecs="avc1.42E01E"'

# Opens the host's lightbox as its script does; where the host has none, one like A1111's.
LIGHTBOX = """source => {
    let box = document.getElementById("lightboxModal");
    if (!box) {
        box = document.createElement("div");
        box.id = "lightboxModal";
        box.style.cssText = "position: fixed; inset: 0; z-index: 1001; background: black;";
        box.onclick = () => { box.style.display = "none"; };
        box.innerHTML = '<img id="modalImage" class="modalImageFullscreen">';
        document.body.appendChild(box);
    }
    document.getElementById("modalImage").src = source;
    box.style.display = "flex";
}"""


@pytest.fixture
def tab(webui, modules):
    """The txt2img tab, set to a small and short animation."""
    tab = webui.txt2img
    prepare(tab, modules)
    return tab


def prepare(tab, modules, **fields):
    tab.panel.open()
    tab.prompt.fill("a cat")
    tab.set(**SMALL)
    settings = {"enable": True, "model": modules.v3, "video_length": 4, "batch_size": 4, "format": ["GIF", "MP4"]}
    tab.panel.set(**settings | fields)


def assert_shown(image: Locator) -> None:
    """The picture is loaded, visible and drawn."""
    expect(image).to_be_visible()
    image.page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())


def assert_plays(image: Locator) -> None:
    """A <video> stands for the picture, runs, and covers nothing beside it."""
    page = image.page
    if not page.evaluate("kind => document.createElement('video').canPlayType(kind)", MP4):
        pytest.skip("this Chromium cannot play H.264")
    expect(image).to_be_hidden()
    video = image.locator("xpath=following-sibling::video[1]")
    expect(video).to_be_visible()
    handle = video.element_handle()
    page.wait_for_function("video => video.videoWidth > 0 && !video.paused && video.currentTime > 0", arg=handle)
    then = video.evaluate("video => video.currentTime")
    page.wait_for_function("([video, then]) => video.currentTime !== then", arg=[handle, then])


def assert_inside_preview(tab, element: Locator) -> None:
    """The large picture ends above the thumbnails and within the gallery."""
    box, gallery, below = (x.bounding_box() for x in (element, tab.gallery, tab.thumbnails.first))
    assert box["height"] > 100
    assert box["y"] + box["height"] <= below["y"] + 1, "it covers the thumbnails"
    assert gallery["x"] - 1 <= box["x"]
    assert box["x"] + box["width"] <= gallery["x"] + gallery["width"] + 1


def test_gif_and_mp4_in_the_gallery(webui, tab, snap):
    tab.generate()
    assert [name.rsplit(".", 1)[1] for name in tab.files()] == ["gif", "mp4"]
    assert 'AnimateDiff: "model: ' in tab.infotext()

    gif = tab.select(0)
    assert_shown(gif)
    assert file_name(gif).endswith(".gif")
    assert_shown(tab.thumbnails.nth(0).locator("img"))
    snap(webui, "gallery-gif")

    mp4 = tab.select(1)
    assert_plays(mp4)
    assert_plays(tab.thumbnails.nth(1).locator("img"))
    player = tab.gallery.locator("[data-testid=detailed-image] + video")
    assert_inside_preview(tab, player)
    snap(webui, "gallery-mp4")
    player.click()
    expect(player).to_have_js_property("paused", True)

    assert_shown(tab.select(0))
    expect(player).to_have_count(0)


def test_video_in_a_lightbox(webui, tab):
    """A1111 shows the selected picture over the whole page, in an element that is not a part of Gradio's."""
    tab.panel.set(format=["MP4"])
    tab.generate()
    webui.page.evaluate(LIGHTBOX, tab.shown.get_attribute("src"))
    assert_plays(webui.page.locator("#modalImage"))
    webui.page.locator("#lightboxModal video").click()
    expect(webui.page.locator("#lightboxModal")).to_be_visible()
    webui.page.evaluate("() => document.getElementById('modalImage').setAttribute('src', 'data:image/gif;base64,')")
    expect(webui.page.locator("#lightboxModal video")).to_have_count(0)


def test_webm_and_webp_in_the_gallery(webui, tab, snap):
    tab.panel.set(format=["WEBP", "WEBM"])
    tab.generate()
    assert [name.rsplit(".", 1)[1] for name in tab.files()] == ["webp", "webm"]
    assert_shown(tab.select(0))
    assert_plays(tab.select(1))
    snap(webui, "gallery-webm")


def test_infotext_brings_every_field_back(open_page, modules, snap):
    fields = {
        "model": modules.v2,
        "video_length": 6,
        "fps": 12,
        "loop_number": 2,
        "closed_loop": "N",
        "batch_size": 5,
        "stride": 2,
        "overlap": 3,
        "interp": "Flow",
        "interp_x": 2,
        "freeinit_enable": True,
        "freeinit_filter": "gaussian",
        "freeinit_ds": 0.3,
        "freeinit_dt": 0.35,
        "freeinit_iters": 2,
        "use_main_seed": True,
    }
    first = open_page().txt2img
    prepare(first, modules, **fields)
    first.generate()
    infotext = first.infotext()

    fresh = open_page()
    panel = fresh.txt2img.panel
    panel.open()
    panel.expect(enable=False, video_length=0, freeinit_enable=False, use_main_seed=False)
    fresh.txt2img.paste(infotext)
    panel.expect(enable=True, **fields)
    expect(fresh.txt2img.prompt).to_have_value("a cat")
    snap(fresh, "pasted")


def test_refused_request_is_a_sentence(webui, tab, snap):
    tab.panel.set(video_length=-3)
    tab.press("generate")
    expect(tab.error).to_be_visible()
    expect(tab.error).to_contain_text("video_length")
    expect(tab.error).to_contain_text("0 to 10000")
    snap(webui, "refused")
    tab.panel.set(video_length=4)
    tab.generate()
    assert len(tab.files()) == 2


def test_memory_buttons(tab):
    tab.panel.set(format=["GIF"])
    tab.generate()
    tab.panel.element("to-cpu").click()
    expect(tab.panel.answer).to_contain_text("The motion modules are in RAM.")
    tab.panel.element("remove").click()
    expect(tab.panel.answer).to_contain_text("No motion module is in memory any more.")
    tab.generate()


def test_disabled_again_makes_a_plain_image(tab):
    tab.generate()
    tab.panel.set(enable=False)
    tab.generate()
    (name,) = tab.files()
    assert name.endswith(".png")
    assert "AnimateDiff" not in tab.infotext()
    assert_shown(tab.shown)


def test_upscale_button_makes_the_whole_animation_again(webui, tab, snap):
    tab.generate()
    tab.select(0)
    tab.press("upscale")
    assert tab.error.count() == 0, tab.error.inner_text()
    upscaled = tab.select(0)
    assert file_name(upscaled).endswith(".gif")
    assert_shown(upscaled)
    assert upscaled.evaluate("image => image.naturalWidth") == 256
    assert "Hires upscale: 2" in tab.infotext()
    snap(webui, "upscaled")


def test_image_to_video(webui, modules, tmp_path, snap):
    first_image = tmp_path / "first.png"
    Image.radial_gradient("L").resize((128, 128)).convert("RGB").save(first_image)
    tab = webui.open_tab("img2img")
    tab.page.locator("#img2img_image input[type=file]").set_input_files(first_image)
    expect(tab.page.locator("#img2img_image img").first).to_be_visible()
    fields = {"latent_power": 2.5, "latent_scale": 9, "latent_power_last": 1.5, "latent_scale_last": 5}
    prepare(tab, modules, **fields)
    tab.generate()
    assert [name.rsplit(".", 1)[1] for name in tab.files()] == ["gif", "mp4"]
    assert_plays(tab.select(1))
    infotext = tab.infotext()
    snap(webui, "img2img")

    tab.panel.set(enable=False, latent_power=1, latent_scale=32, latent_power_last=1, latent_scale_last=32)
    tab.paste(infotext)
    tab.panel.expect(enable=True, **fields)
