"""The page as a user sees it: tabs, the AnimateDiff panel, the gallery. The same on Gradio 3.41 and 4.40."""

import re
from urllib.parse import unquote

from playwright.sync_api import Locator, Page, expect

from lib_animatediff.fields import FIELD

# A generation on a loaded machine; everything else answers within the browser's own time limit (see conftest.py).
GENERATION_MS = 600_000

# Each sets a flag when its element has changed: a text is another one; the veil over a component, which Gradio shows
# while a call is under way, is gone again.
_WATCH_TEXT = """text => {
    window.testHasSeen = false;
    const observer = new MutationObserver(() => { window.testHasSeen = true; observer.disconnect(); });
    observer.observe(text, {childList: true, subtree: true, characterData: true});
}"""
_WATCH_VEIL = """veil => {
    window.testHasSeen = false;
    const observer = new MutationObserver(() => {
        if (veil.classList.contains("hide")) { window.testHasSeen = true; observer.disconnect(); }
    });
    observer.observe(veil, {attributes: true, attributeFilter: ["class"]});
}"""
_HAS_SEEN = "() => window.testHasSeen"


class Panel:
    """The AnimateDiff accordion of one tab; fields go by their names in the table."""

    def __init__(self, page: Page, tab: str):
        self.page, self.tab = page, tab
        self.accordion = page.locator(f"div#{tab}-ad-accordion")
        self.answer = self.element("done").locator(".prose").first

    def element(self, suffix: str) -> Locator:
        """An element by the ending of its id. (Gradio 3 gives some inner elements the id of the outer one.)"""
        return self.page.locator(f'[id="{self.tab}-ad-{suffix}"]').first

    def field(self, name: str) -> Locator:
        return self.element(FIELD[name].elem_id)

    def open(self) -> None:
        """Unfold the panel and the accordions in it."""
        _unfold(self.accordion)
        for inner in self.accordion.locator(".label-wrap").all()[1:]:
            _unfold(inner.locator(".."))

    def is_open(self) -> bool:
        return _is_unfolded(self.accordion)

    def set(self, **fields: object) -> None:
        """Enter values as a user does."""
        for name, value in fields.items():
            element, kind = self.field(name), FIELD[name].kind
            if kind == "bool":
                element.get_by_role("checkbox").set_checked(bool(value))
            elif kind == "formats":
                for box in element.locator("label").all():
                    box.locator("input").set_checked(box.inner_text().strip() in value)
            elif kind == "choice":
                element.locator(f'input[value="{value}"]').check()
            elif kind == "model":
                element.locator("input").click()
                element.locator("li").filter(has_text=value).click()
            else:
                enter(element, value)

    def expect(self, **fields: object) -> None:
        """Wait until fields show these values."""
        for name, value in fields.items():
            element, kind = self.field(name), FIELD[name].kind
            if kind == "bool":
                expect(element.get_by_role("checkbox")).to_be_checked(checked=bool(value))
            elif kind == "formats":
                for box in element.locator("label").all():
                    expect(box.locator("input")).to_be_checked(checked=box.inner_text().strip() in value)
            elif kind == "choice":
                expect(element.locator(f'input[value="{value}"]')).to_be_checked()
            else:
                expect(element.locator("input").first, name).to_have_value(str(value))

    def models(self) -> list[str]:
        """Open the list of motion modules, read it and leave it."""
        self.field("model").locator("input").click()
        options = self.field("model").locator("li")
        expect(options.first).to_be_visible()
        names = [re.sub(r"^\W+", "", text.strip()) for text in options.all_inner_texts()]
        self.field("model").locator("input").press("Tab")
        expect(options).to_have_count(0)
        return names

    def press_refresh(self) -> None:
        """Press the button beside the motion modules, and wait for Gradio's answer."""
        self.field("model").locator(".wrap").first.evaluate(_WATCH_VEIL)
        self.element("refresh-motion-module").click()
        self.page.wait_for_function(_HAS_SEEN)


class Tab:
    """The txt2img or the img2img tab."""

    def __init__(self, page: Page, name: str):
        self.page, self.name = page, name
        self.panel = Panel(page, name)
        self.prompt = page.locator(f"#{name}_prompt textarea")
        self.gallery = page.locator(f"#{name}_gallery")
        self.thumbnails = self.gallery.locator(".thumbnails .thumbnail-item")
        self.shown = self.gallery.locator("[data-testid=detailed-image]")
        self.log = page.locator(f"#html_log_{name} .prose").first
        self.error = self.log.locator(".error")

    def set(self, **settings: object) -> None:
        """Enter values into the host's own fields, by the endings of their ids."""
        for name, value in settings.items():
            enter(self.page.locator(f"#{self.name}_{name}"), value)

    def press(self, button: str) -> None:
        """Press a button that generates, and wait until the host has answered."""
        self.log.evaluate(_WATCH_TEXT)
        self.page.locator(f"#{self.name}_{button}").click()
        self.page.wait_for_function(_HAS_SEEN, timeout=GENERATION_MS)

    def generate(self) -> None:
        self.press("generate")
        assert self.error.count() == 0, self.error.inner_text()

    def infotext(self) -> str:
        return self.page.locator(f"#html_info_{self.name} .prose").first.inner_text().strip()

    def paste(self, infotext: str) -> None:
        """Put a text into the prompt and press the arrow, as a user does; ends when the prompt is the text's own."""
        self.prompt.fill(infotext)
        self.page.locator(f"#{self.name}_tools #paste, #{self.name}_tools #{self.name}_paste").click()
        expect(self.prompt).to_have_value(infotext.splitlines()[0])

    def files(self) -> list[str]:
        """Names of the files in the gallery, in order."""
        expect(self.shown).to_be_attached()
        images = self.thumbnails.locator("img") if self.thumbnails.count() else self.shown
        return [file_name(image) for image in images.all()]

    def select(self, index: int) -> Locator:
        """Show the picture of this number large; its <img>."""
        if self.thumbnails.count():
            source = self.thumbnails.nth(index).locator("img").get_attribute("src")
            self.thumbnails.nth(index).click()
            expect(self.shown).to_have_attribute("src", source)
        return self.shown


class WebUI:
    """The page with its two tabs."""

    def __init__(self, page: Page, url: str, theme: str):
        self.page = page
        page.goto(f"{url}/?__theme={theme}")
        self.txt2img, self.img2img = Tab(page, "txt2img"), Tab(page, "img2img")
        expect(self.txt2img.panel.accordion).to_be_visible()
        self.gradio = page.evaluate("() => window.gradio_config.version")

    def open_tab(self, name: str) -> Tab:
        self.page.locator("#tabs > .tab-nav").get_by_role("tab", name=name, exact=True).or_(
            self.page.locator("#tabs > .tab-nav > button").get_by_text(name, exact=True)
        ).first.click()
        tab = {"txt2img": self.txt2img, "img2img": self.img2img}[name]
        expect(tab.prompt).to_be_visible()
        return tab


def enter(element: Locator, value: object) -> None:
    """Type a number or a text and leave the field."""
    box = element.locator("input[type=number], textarea").first
    box.fill(str(value))
    box.press("Tab")


def file_name(image: Locator) -> str:
    source = unquote(image.get_attribute("src") or "").split("?")[0]
    return source.replace("\\", "/").rsplit("/", 1)[-1]


def _is_unfolded(accordion: Locator) -> bool:
    return "open" in (accordion.locator(".label-wrap").first.get_attribute("class") or "").split()


def _unfold(accordion: Locator) -> None:
    if not _is_unfolded(accordion):
        accordion.locator(".label-wrap").first.click()
