"""Options of the test run (pytest reads them here even when it is given no path)."""

from pathlib import Path


def pytest_addoption(parser):
    group = parser.getgroup("live", "the contract over HTTP")
    group.addoption("--webui-url", help="a running WebUI to test; without it miniwebui is started")
    group.addoption("--motion-modules", help="names of a v1, a v2 and a v3 motion module, with commas between")
    group.addoption("--samplers", choices=("all", "few"), default="all", help="how many samplers are tried")
    group.addoption("--one-each", action="store_true", help="only the first case of each test, for slow hosts")
    group.addoption("--size", type=int, default=64, help="width and height of the frames")
    group.addoption(
        "--miniwebui-flags", default="--use-cpu all --no-half", help="flags of the miniwebui that is started"
    )
    parser.getgroup("browser", "the page in Chromium").addoption(
        "--screenshots", type=Path, help="folder to keep the screenshots in; without it they go to a temporary one"
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--one-each"):
        first = {(item.path, getattr(item, "originalname", item.name)): item for item in reversed(items)}
        kept = set(first.values())
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]
