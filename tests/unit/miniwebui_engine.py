"""miniwebui's engine in this process: its `modules` package is there while a test module runs and gone afterwards."""

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

HOST = Path(__file__).resolve().parents[2] / "miniwebui" / "host"
NAMES = (
    "devices", "lowvram", "masking", "processing", "prompt_parser", "prompt_schedule", "rng", "sd_denoisers",
    "sd_models", "sd_network", "sd_samplers", "sd_samplers_functions", "sd_samplers_timesteps_impl",
    "sd_samplers_unipc", "sd_schedulers", "shared",
)  # fmt: skip


def _forget() -> None:
    for name in [x for x in sys.modules if x.partition(".")[0] in ("modules", "launch")]:
        del sys.modules[name]


@contextmanager
def host_modules(data_dir: Path):
    """The host's modules by name; every other copy of the package is out of the way meanwhile."""
    for package in ("ldm", "transformers", "gradio", "torchsde", "einops"):
        pytest.importorskip(package, reason="a package of miniwebui is not installed")
    kept = {name: x for name, x in sys.modules.items() if name.partition(".")[0] in ("modules", "launch")}
    arguments = sys.argv
    _forget()
    sys.path.insert(0, str(HOST))
    sys.argv = ["miniwebui", "--data-dir", str(data_dir)]
    try:
        importlib.import_module("modules.shared_init").initialize()
        yield SimpleNamespace(**{name: importlib.import_module(f"modules.{name}") for name in NAMES})
    finally:
        sys.argv = arguments
        sys.path.remove(str(HOST))
        _forget()
        sys.modules.update(kept)


class Runner:
    """A script runner that notes the hooks in order; `on` names what a hook shall do."""

    def __init__(self, **on):
        self.seen, self.on = [], on

    def __getattr__(self, hook):
        def call(p, *args, **kwargs):
            self.seen.append(hook)
            if hook in self.on:
                self.on[hook](p, *args, **kwargs)

        return call
