"""Infotext: reading it, pasting it into the page, and the settings it overrides."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from modules import errors, images, script_callbacks, shared

sys.modules["modules.generation_parameters_copypaste"] = sys.modules[__name__]

_PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"^(\d+)x(\d+)$")
# What a missing label means; written only where it differs from the default.
_DEFAULTS: dict[str, Any] = {
    "Clip skip": "1", "Hires resize-1": 0, "Hires resize-2": 0, "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler", "Hires checkpoint": "Use same checkpoint", "Hires prompt": "",
    "Hires negative prompt": "", "Mask mode": "Inpaint masked", "Masked content": "original",
    "Inpaint area": "Whole picture", "Masked area padding": 32, "RNG": "GPU", "Schedule type": "Automatic",
    "Schedule max sigma": 0, "Schedule min sigma": 0, "Schedule rho": 0, "Refiner switch by sampling steps": False,
}  # fmt: skip


class PasteField(tuple):
    """A component and the label (or function of all values) that fills it; `api` names the request field."""

    def __new__(cls, component, target, **_):
        return tuple.__new__(cls, (component, target))

    def __init__(self, component, target: str | Callable, *, api: str | None = None) -> None:
        super().__init__()
        self.component, self.api = component, api
        self.label, self.function = (None, target) if callable(target) else (target, None)

    def value_in(self, params: dict) -> Any:
        """What the values of an infotext say about the component."""
        return params.get(self.label) if self.function is None else self.function(params)


@dataclass
class ParamBinding:
    """A button that sends values to a tab."""

    paste_button: Any
    tabname: str
    source_text_component: Any = None
    source_image_component: Any = None
    source_tabname: str | None = None
    override_settings_component: Any = None
    paste_field_names: Sequence[str] = ()


paste_fields: dict = {}
_bindings: list[ParamBinding] = []


def reset() -> None:
    """Forget the page."""
    for known in (paste_fields, _bindings):
        known.clear()


def quote(text: Any) -> Any:
    """JSON quotes around a value that holds a comma, a colon or a line end."""
    return json.dumps(text, ensure_ascii=False) if re.search("[,:\n]", str(text)) else text


def unquote(text: str) -> str:
    """Undo `quote`; a text that is no JSON string stays."""
    if len(text) < 2 or not (text[0] == text[-1] == '"'):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def add_paste_fields(tabname: str, init_img, fields: list | None, override_settings_component=None) -> None:
    """Register what pasting fills on a tab."""
    import modules.ui

    if fields is not None:
        fields[:] = [x if isinstance(x, PasteField) else PasteField(*x) for x in fields]
    paste_fields[tabname] = {
        "init_img": init_img,
        "fields": fields,
        "override_settings_component": override_settings_component,
    }
    setattr(modules.ui, f"{tabname}_paste_fields", fields)


def register_paste_params_button(binding: ParamBinding) -> None:
    """Remember a button until all tabs exist."""
    _bindings.append(binding)


def connect_paste_params_buttons() -> None:
    """Connect the registered buttons once all tabs exist."""
    for binding in _bindings:
        target = paste_fields[binding.tabname]
        fields = target["fields"] or []
        if binding.source_image_component is not None and target["init_img"] is not None:
            binding.paste_button.click(
                fn=image_from_url_text, inputs=[binding.source_image_component], outputs=[target["init_img"]]
            )
        if binding.source_text_component is not None and fields:
            override = binding.override_settings_component or target["override_settings_component"]
            connect_paste(binding.paste_button, fields, binding.source_text_component, override, binding.tabname)
        if binding.source_tabname is not None and fields:
            wanted = ["Prompt", "Negative prompt", "Steps", *(["Seed"] if shared.opts.send_seed else [])]
            wanted += binding.paste_field_names
            source = {name: x for x, name in paste_fields[binding.source_tabname]["fields"] if name in wanted}
            pairs = [(source[name], x) for x, name in fields if name in source]
            binding.paste_button.click(
                fn=lambda *values: values[0] if len(values) == 1 else values,
                inputs=[x for x, _ in pairs],
                outputs=[x for _, x in pairs],
            )


def image_from_url_text(filedata: Any) -> Image.Image | None:
    """The image behind a gallery's value: a file of this host, or base64 text."""
    from modules import ui_tempdir

    while isinstance(filedata, (list, tuple)):
        if not filedata:
            return None
        filedata = filedata[0]
    if filedata is None or isinstance(filedata, Image.Image):
        return filedata
    if isinstance(filedata, dict):
        inner = filedata.get("image") or filedata
        filedata = inner.get("path") or inner.get("name") if isinstance(inner, dict) else inner
    if os.path.isfile(str(filedata).rsplit("?", 1)[0]):
        path = str(filedata).rsplit("?", 1)[0]
        if not ui_tempdir.check_tmp_file(shared.demo, path):
            raise PermissionError("trying to open image file outside of allowed directories")
        return images.read(path)
    return images.read(io.BytesIO(base64.b64decode(str(filedata).removeprefix("data:image/png;base64,"))))


def parse_generation_parameters(x: str, skip_fields: list[str] | None = None) -> dict[str, Any]:
    """Infotext as labels and values; the prompts under "Prompt" and "Negative prompt"."""
    *lines, last = x.strip().split("\n")
    if len(_PARAMETER.findall(last)) < 3:
        lines.append(last)
        last = ""
    prompts: dict[str, list[str]] = {"Prompt": [], "Negative prompt": []}
    current = "Prompt"
    for line in (text.strip() for text in lines):
        label, colon, rest = line.partition(":")
        if colon and label == "Negative prompt":
            current, line = label, rest.strip()  # noqa: PLW2901
        prompts[current].append(line)

    result: dict[str, Any] = {}
    for key, raw in _PARAMETER.findall(last):
        value = unquote(raw)
        size = _SIZE.match(value) if isinstance(value, str) else None
        if size:
            result[f"{key}-1"], result[f"{key}-2"] = size.groups()
        else:
            result[key] = value
    for key, texts in prompts.items():
        result[key] = "\n".join(texts).lstrip("\n") if key == "Negative prompt" else "\n".join(texts)
    for key, value in _DEFAULTS.items():
        result.setdefault(key, value)
    for key in shared.opts.infotext_skip_pasting if skip_fields is None else skip_fields:
        result.pop(key, None)
    return result


infotext_to_setting_name_mapping: list[tuple[str, str]] = []


def _labels_of_settings() -> list[tuple[str, str]]:
    labels = [(info.infotext, key) for key, info in shared.opts.data_labels.items() if info.infotext]
    return labels + infotext_to_setting_name_mapping


def create_override_settings_dict(text_pairs: list[str] | None) -> dict[str, Any]:
    """From ["Clip skip: 2"] to {"CLIP_stop_at_last_layers": 2}."""
    given = {k: v.strip() for k, v in (pair.split(":", maxsplit=1) for pair in text_pairs or [])}
    labels = [(label, key) for label, key in _labels_of_settings() if label in given]
    return {key: shared.opts.cast_value(key, given[label]) for label, key in labels}


def get_override_settings(params: dict, *, skip_fields: dict | None = None) -> list[tuple[str, str, Any]]:
    """Settings in an infotext that differ from the current ones, as (label, key, value)."""
    result = []
    for label, key in _labels_of_settings():
        if label in (skip_fields or {}) or params.get(label) is None:
            continue
        if key == "sd_model_checkpoint" and shared.opts.disable_weights_auto_swap:
            continue
        value = shared.opts.cast_value(key, params[label])
        if value is not None and value != getattr(shared.opts, key, None):
            result.append((label, key, value))
    return result


def _is_update(value: Any) -> bool:
    return isinstance(value, dict) and value.get("__type__") in ("update", "generic_update")


def _value_for(component, value: Any) -> Any:
    """A pasted text in the type of the component's value."""
    kind = type(getattr(component, "value", None))
    if kind is bool and value == "False":
        return False
    if kind is int:
        return float(value)
    return value if kind is type(None) else kind(value)


def connect_paste(button, paste_fields: list, input_comp, override_settings_component, tabname: str) -> None:
    """Fill the fields from the text in `input_comp` when the button is pressed."""
    fields = list(paste_fields)
    if override_settings_component:
        handled = {key: 1 for _, key in paste_fields if isinstance(key, str)}

        def paste_settings(params: dict):
            pairs = [f"{label}: {value}" for label, _, value in get_override_settings(params, skip_fields=handled)]
            return gr.update(value=pairs, choices=pairs, visible=bool(pairs))

        fields.append((override_settings_component, paste_settings))

    def update_of(component, key: str | Callable, params: dict):
        value = params.get(key)
        if callable(key):
            try:
                value = key(params)
            except Exception:  # noqa: BLE001 - one extension's field must not spoil the rest
                errors.report(f"A pasted value could not be made by {key}", exc_info=True)
                value = None
        if value is None:
            return gr.update()
        if _is_update(value):
            return value
        try:
            return gr.update(value=_value_for(component, value))
        except (TypeError, ValueError):
            return gr.update()

    def paste(text: str):
        params = parse_generation_parameters(text or "")
        script_callbacks.infotext_pasted_callback(text, params)
        updates = [update_of(component, key, params) for component, key in fields]
        return updates[0] if len(updates) == 1 else updates

    button.click(fn=paste, inputs=[input_comp], outputs=[x for x, _ in fields], show_progress=False)
