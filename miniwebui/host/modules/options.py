"""Settings: their declarations (`OptionInfo`) and their values (`Options`, kept in config.json)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from modules import errors
from modules.shared_cmd_options import cmd_opts


def _remark(text: str, *, space: bool = False) -> Callable[[OptionInfo], OptionInfo]:
    """A method that puts a fixed remark behind a setting's label."""
    return lambda self: self.remark(text, space=space)


class OptionInfo:
    """Declaration of one setting; the constructor's names and the chained methods are A1111's."""

    def __init__(
        self, default: Any = None, label: str = "", component: Callable | None = None,
        component_args: Mapping | Callable[[], Mapping] | None = None, onchange: Callable[[], None] | None = None,
        section: tuple | None = None, refresh: Callable | None = None, comment_before: str = "",
        comment_after: str = "", infotext: str | None = None, restrict_api: bool = False,
        category_id: str | None = None,
    ) -> None:  # fmt: skip
        given = dict(locals())
        del given["self"]
        vars(self).update(given, do_not_save=False)

    def remark(self, text: str, *, space: bool = False) -> OptionInfo:
        """Small text in brackets behind the label."""
        return self.html(f"{' ' * space}<span class='info'>({text})</span>")

    def html(self, html: str) -> OptionInfo:
        """Any text behind the label."""
        self.comment_after += html
        return self

    def link(self, label: str, url: str) -> OptionInfo:
        """A link before the label."""
        return self._before(label, f"href='{url}' target='_blank'")

    def js(self, label: str, js_func: str) -> OptionInfo:
        """A link before the label that calls a function of the page."""
        return self._before(label, f"onclick='{js_func}(); return false'")

    def _before(self, label: str, attributes: str) -> OptionInfo:
        self.comment_before += f"[<a {attributes}>{label}</a>]"
        return self

    def info(self, info: str) -> OptionInfo:
        """What the setting does."""
        return self.remark(info)

    needs_restart = _remark("requires restart", space=True)
    needs_reload_ui = _remark("requires Reload UI", space=True)


def _html_component(**kwargs):
    import gradio as gr

    return gr.HTML(elem_classes="settings-info", **kwargs)


class OptionHTML(OptionInfo):
    """A piece of text between settings; it has no value."""

    def __init__(self, text: str) -> None:
        super().__init__(str(text).strip(), component=_html_component)
        self.do_not_save = True


def options_section(section_identifier: tuple, options_dict: dict[str, OptionInfo]) -> dict[str, OptionInfo]:
    """Put options into a section given as (id, title) or (id, title, category)."""
    for info in options_dict.values():
        info.section = tuple(section_identifier[:2])
        if len(section_identifier) > 2:
            info.category_id = section_identifier[2]
    return options_dict


class OptionsCategories:
    """Headings above sections; kept because extensions register theirs."""

    def __init__(self) -> None:
        self.mapping: dict[str, str] = {}

    def register_category(self, category_id: str, label: str) -> str:
        """Make a heading known; answers its id."""
        self.mapping.setdefault(category_id, label)
        return category_id


categories: OptionsCategories = OptionsCategories()

_OWN = ("data", "data_labels", "restricted_opts", "typemap")


def _names(text: str | None) -> list[str]:
    return [x.strip() for x in (text or "").split(",") if x.strip()]


class Options:
    """Values of the settings, read and written as attributes."""

    typemap = {int: float}

    def __init__(self, data_labels: dict[str, OptionInfo], restricted_opts: set[str]) -> None:
        self.data_labels, self.restricted_opts = data_labels, restricted_opts
        self.data = {k: v.default for k, v in data_labels.items() if not v.do_not_save}

    def __setattr__(self, key: str, value: Any) -> None:
        if key in _OWN or (key not in self.data and key not in self.data_labels):
            super().__setattr__(key, value)
            return
        info = self.data_labels.get(key)
        if info is not None and info.do_not_save:
            return
        self._refuse_frozen(key, info)
        self.data[key] = value

    def _refuse_frozen(self, key: str, info: OptionInfo | None) -> None:
        """RuntimeError for a setting that nobody may change, AssertionError for one frozen by the command line."""
        arguments = None if info is None else info.component_args
        hidden = isinstance(arguments, dict) and arguments.get("visible", True) is False
        if hidden or (cmd_opts.hide_ui_dir_config and key in self.restricted_opts):
            raise RuntimeError(f"The setting {key} is restricted: it may not be changed on this server.")
        section = ((info is not None and info.section) or (None,))[0]
        frozen = (
            cmd_opts.freeze_settings
            or key in _names(cmd_opts.freeze_specific_settings)
            or (section and section in _names(cmd_opts.freeze_settings_in_sections))
        )
        if frozen:
            raise AssertionError(f"The setting {key} is frozen by the command line.")

    def __getattr__(self, key: str) -> Any:
        if key in _OWN:
            raise AttributeError(key)
        if key in self.data:
            return self.data[key]
        if key in self.data_labels:
            return self.data_labels[key].default
        raise AttributeError(f"there is no setting {key!r}")

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        """Change a setting and call its onchange; True if it changed. A failing onchange restores the old value."""
        old = self.data.get(key)
        if old == value:
            return False
        info = self.data_labels[key]
        if info.do_not_save or (is_api and info.restrict_api):
            return False
        try:
            setattr(self, key, value)
        except RuntimeError:
            return False
        if run_callbacks and info.onchange is not None:
            try:
                info.onchange()
            except Exception as error:  # noqa: BLE001 - A1111 reports it and takes the value back
                errors.display(error, f"changing setting {key} to {value}")
                setattr(self, key, old)
                return False
        return True

    def get_default(self, key: str) -> Any:
        info = self.data_labels.get(key)
        return None if info is None else info.default

    def save(self, filename: str) -> None:
        """Write the values as JSON, to a temporary name first."""
        if cmd_opts.freeze_settings:
            raise AssertionError("saving settings is disabled")
        os.makedirs(os.path.dirname(os.path.abspath(filename)), exist_ok=True)
        with open(filename + ".tmp", "w", encoding="utf8") as file:
            file.write(json.dumps(self.data, ensure_ascii=False, indent=4))
        os.replace(filename + ".tmp", filename)

    def load(self, filename: str) -> None:
        """Read the values; an unreadable file is set aside and the defaults stay."""
        try:
            with open(filename, encoding="utf8") as file:
                self.data.update(json.load(file))
        except FileNotFoundError:
            return
        except ValueError:
            os.replace(filename, filename + ".broken")
            errors.report(f"{filename} could not be read as JSON; it was renamed to {filename}.broken", exc_info=True)

    def onchange(self, key: str, func: Callable[[], None], call: bool = True) -> None:
        self.data_labels[key].onchange = func
        if call:
            func()

    def add_option(self, key: str, info: OptionInfo) -> None:
        """Declare a setting; a value read from config.json before stays."""
        self.data_labels[key] = info
        if not info.do_not_save:
            self.data.setdefault(key, info.default)

    def reorder(self) -> None:
        """Bring the options of one section together, in order of the sections' first option."""
        order: dict = {}
        for info in self.data_labels.values():
            order.setdefault(info.section, len(order))
        self.data_labels = dict(sorted(self.data_labels.items(), key=lambda x: order[x[1].section]))

    def cast_value(self, key: str, value: Any) -> Any:
        """Bring a value read from text to the type of the setting."""
        sample = self.data_labels[key].default
        if sample is None:
            sample = getattr(self, key, None)
        if value is None or sample is None:
            return None
        if isinstance(sample, bool) and value == "False":
            return False
        return type(sample)(value)

    def dumpjson(self) -> str:
        return json.dumps({k: self.data.get(k, v.default) for k, v in self.data_labels.items()})
