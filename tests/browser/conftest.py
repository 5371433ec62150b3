"""A headless Chromium, the page of the WebUI under test, and where its screenshots go."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.__main__ import find_chromium
from tests.browser.webui_page import WebUI

# The host is started, and its motion modules are found, as for the tests over HTTP.
from tests.live.conftest import (  # noqa: F401
    has_probe,
    local_host,
    module_folder,
    modules,
    options,
    session_host,
    webui_url,
)

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")

# What the page does without generating, on a machine that is busy with other things.
PAGE_MS = 60_000
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator["sync_api.Browser"]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium found; install one or set CHROMIUM to its path")
    sync_api.expect.set_options(timeout=PAGE_MS)
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def screenshots(request, tmp_path_factory) -> Path:
    return request.config.getoption("--screenshots") or tmp_path_factory.mktemp("screenshots")


def _answer_for_others(route: "sync_api.Route") -> None:
    """Fonts and scripts from other servers: empty files, so that a test needs no network and reports no error of it."""
    kind = {"stylesheet": "text/css", "script": "text/javascript"}.get(route.request.resource_type, "text/plain")
    route.fulfill(body="", content_type=kind, headers={"Access-Control-Allow-Origin": "*"})


def keep_picture(page: "sync_api.Page", folder: Path, name: str) -> None:
    """A picture of the whole page, in a folder for each version of Gradio."""
    version = page.evaluate("() => window.gradio_config ? window.gradio_config.version : 'none'")
    page.screenshot(path=folder / f"gradio-{version}" / f"{name}.png", full_page=True)


@pytest.fixture
def open_page(browser, webui_url, screenshots, request) -> Iterator[Callable[[str], WebUI]]:  # noqa: F811
    """Opens a fresh page, light or dark. After the test: a screenshot, and no errors may be in the page's console.

    A1111's page has errors of its own; there, and on other hosts that are given, only errors that name us count.
    """
    contexts, errors = [], []
    any_counts = not request.config.getoption("--webui-url")

    def open_in(theme: str = "light") -> WebUI:
        context = browser.new_context(viewport={"width": 1400, "height": 1000}, color_scheme=theme)
        contexts.append(context)
        context.set_default_timeout(PAGE_MS)
        context.route(lambda url: not url.startswith(webui_url), _answer_for_others)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(error.stack or str(error)))
        page.on("console", lambda line: errors.append(f"{line.text} {line.location}") if line.type == "error" else None)
        return WebUI(page, webui_url, theme)

    yield open_in
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    for number, context in enumerate(contexts):
        for page in context.pages:
            keep_picture(page, screenshots, f"{name}-{number}")
        context.close()
    assert [error for error in errors if any_counts or "animatediff" in error.lower()] == []


@pytest.fixture
def webui(open_page) -> WebUI:
    return open_page()


@pytest.fixture
def snap(screenshots) -> Callable[[WebUI, str], None]:
    """Keeps a picture of the whole page under a name."""
    return lambda webui, name: keep_picture(webui.page, screenshots, name)
