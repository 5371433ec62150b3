"""A stand-in for the host's `modules` package: as much of it as the panel, the settings and the axes touch."""

import sys
from types import ModuleType, SimpleNamespace

import pytest


class PasteField(tuple):
    """The host's pair of a component and where its value comes from."""

    def __new__(cls, component, target, *, api=None):
        return super().__new__(cls, (component, target))

    def __init__(self, component, target, *, api=None):
        self.component, self.api = component, api
        self.function = target if callable(target) else None
        self.label = target if isinstance(target, str) else None


class OptionInfo:
    """The host's description of one setting."""

    def __init__(self, default=None, label="", component=None, component_args=None, section=None):
        self.default, self.label, self.component = default, label, component
        self.component_args, self.section, self.comment_after = component_args, section, ""

    def info(self, text):
        self.comment_after += text
        return self


class Options:
    """The host's settings: attributes that fall back to the default."""

    def __init__(self):
        self.data, self.data_labels = {}, {}

    def add_option(self, key, info):
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)

    def __getattr__(self, key):
        try:
            return self.__dict__["data"][key]
        except KeyError:
            raise AttributeError(key) from None


class AxisOption:
    """The X/Y/Z plot's axis."""

    def __init__(self, label, type, apply, confirm=None, cost=0.0, choices=None):  # noqa: A002
        self.label, self.type, self.apply = label, type, apply
        self.confirm, self.cost, self.choices = confirm, cost, choices


class AxisOptionImg2Img(AxisOption):
    """An axis of the img2img tab alone."""

    is_img2img = True


def install(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Puts the stand-in into sys.modules for one test; returns its modules as attributes."""
    made = {
        "scripts": SimpleNamespace(scripts_data=[]),
        "shared": SimpleNamespace(opts=Options(), OptionInfo=OptionInfo),
        "paths_internal": SimpleNamespace(models_path="/webui/models"),
        "infotext_utils": SimpleNamespace(PasteField=PasteField),
    }
    package = ModuleType("modules")
    monkeypatch.setitem(sys.modules, "modules", package)
    for name, contents in made.items():
        module = ModuleType(f"modules.{name}")
        vars(module).update(vars(contents))
        monkeypatch.setitem(sys.modules, f"modules.{name}", module)
        made[name] = module
    return SimpleNamespace(**made)


def xyz_grid(path: str = "/webui/scripts/xyz_grid.py", options: list | None = None) -> SimpleNamespace:
    """An entry of the host's list of scripts for the X/Y/Z plot."""
    module = SimpleNamespace(AxisOption=AxisOption, AxisOptionImg2Img=AxisOptionImg2Img, axis_options=options or [])
    return SimpleNamespace(path=path, basedir="/webui", module=module)
