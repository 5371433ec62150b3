"""The settings tab: every declared option, kept in config.json."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from modules import script_callbacks, shared
from modules.options import OptionInfo
from modules.ui_common import create_refresh_button

_IN_HEADER = ("sd_model_checkpoint",)


def _component_class(info: OptionInfo):
    if info.component:
        return info.component
    if isinstance(info.default, bool):
        return gr.Checkbox
    return gr.Number if isinstance(info.default, (int, float)) else gr.Textbox


def create_setting_component(key: str):
    """The component of one option with its current value, and its refresh button if it has one."""
    info = shared.opts.data_labels[key]
    args = dict((info.component_args() if callable(info.component_args) else info.component_args) or {})
    value = getattr(shared.opts, key, info.default)
    elem_id = f"setting_{key}"
    # Hidden settings keep their value without a component that might not hold it.
    make = _component_class(info)
    if info.do_not_save:
        return make(value=info.default)
    component = make(label=info.label, value=value, elem_id=elem_id, **args)
    if info.refresh is not None:
        create_refresh_button(component, info.refresh, info.component_args, f"refresh_{elem_id}")
    return component


class UiSettings:
    """Builds the tab and answers its button."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.components: list[Any] = []
        self.result = None
        self.header: dict[str, Any] = {}

    def register_settings(self) -> None:
        """Let extensions declare theirs."""
        script_callbacks.ui_settings_callback()

    def create_header(self) -> None:
        """The checkpoint's dropdown above the tabs, applied at once."""
        with gr.Row(elem_id="quicksettings"):
            for key in _IN_HEADER:
                component = self.header[key] = create_setting_component(key)
                component.change(
                    fn=lambda value, k=key: self._apply_one(k, value), inputs=[component], outputs=[component],
                    show_progress=False,
                )  # fmt: skip

    def _apply_one(self, key: str, value: Any):
        self._save([key] if shared.opts.set(key, value) else [])
        return gr.update(value=getattr(shared.opts, key))

    def create_ui(self) -> None:
        """One accordion for each section."""
        shared.opts.reorder()
        sections: dict[tuple, list[str]] = {}
        for key, info in shared.opts.data_labels.items():
            if key not in _IN_HEADER and info.section and info.section[0] is not None:
                sections.setdefault(info.section, []).append(key)
        with gr.Row():
            submit = gr.Button("Apply settings", variant="primary", elem_id="settings_submit")
        self.result = gr.HTML("", elem_id="settings_result")
        for (identifier, title), keys in sections.items():
            with gr.Accordion(title, open=False, elem_id=f"settings_{identifier}"):
                for key in keys:
                    made = create_setting_component(key)
                    if not shared.opts.data_labels[key].do_not_save:
                        self.keys += [key]
                        self.components += [made]
        shared.settings_components = dict(zip(self.keys, self.components, strict=True))
        submit.click(fn=self.run_settings, inputs=self.components, outputs=[self.result])

    def connect_load(self, demo) -> None:
        """Show the values of now whenever the page is opened: the API may have changed them."""
        shown = {**self.header, **dict(zip(self.keys, self.components, strict=True))}
        demo.load(
            fn=lambda: [gr.update(value=getattr(shared.opts, key)) for key in shown],
            inputs=[],
            outputs=list(shown.values()),
            show_progress=False,
        )

    def run_settings(self, *values: Any) -> str:
        """Store all values; the line to show."""
        changed = [key for key, value in zip(self.keys, values, strict=True) if self._store(key, value)]
        self._save(changed)
        names = html.escape(", ".join(changed))
        return f"{len(changed)} settings changed{': ' + names if changed else ''}."

    @staticmethod
    def _save(changed: list[str]) -> None:
        if changed:
            shared.opts.save(filename=shared.config_filename)

    @staticmethod
    def _store(key: str, value: Any) -> bool:
        default = shared.opts.data_labels[key].default
        if isinstance(default, int) and not isinstance(default, bool) and isinstance(value, float):
            value = int(value) if value.is_integer() else value
        if default is None and value == "":
            value = None
        return shared.opts.set(key, value)
