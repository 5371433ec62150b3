"""miniwebui's front in this process, and runners of scripts made for a test."""

import importlib
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from tests.unit.miniwebui_engine import host_modules

NAMES = (
    "call_queue", "errors", "extensions", "images", "infotext_utils", "options", "script_callbacks", "scripts",
    "shared", "shared_cmd_options", "util",
)  # fmt: skip
INFO = (
    "a cat,\nin two lines\nNegative prompt: a dog\n"
    'Steps: 4, Sampler: Euler, CFG scale: 7.5, Seed: 11, Size: 64x128, Extra: "a: 1, b: \\"x\\"", Clip skip: 2'
)


@contextmanager
def front_modules(data: Path):
    """The host's modules of the front by name."""
    with host_modules(data):
        yield SimpleNamespace(data=data, **{x: importlib.import_module(f"modules.{x}") for x in NAMES})


def runner_of(scripts, *described):
    """A runner of scripts given as (title, always on, members of the class), one argument each."""
    runner = scripts.ScriptRunner()
    for title, always, members in described:
        base = {"title": lambda self, t=title: t, "filename": f"/nowhere/{title}.py"}
        made = type(title, (scripts.Script,), {**base, **members})()
        made.alwayson = always
        made.args_from, made.args_to = len(runner.inputs), len(runner.inputs) + 1
        runner.inputs.append(title)
        runner.scripts.append(made)
        (runner.alwayson_scripts if always else runner.selectable_scripts).append(made)
    return runner
