"""Parts of the page used by both tabs."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from modules import shared
from modules.gradio_extensons import GRADIO_4, js_argument
from modules.infotext_utils import ParamBinding, register_paste_params_button
from modules.ui_components import ToolButton

refresh_symbol = "\U0001f504"


def plaintext_to_html(text: str | None, classname: str | None = None) -> str:
    """Text as escaped lines of a paragraph."""
    content = "<br>\n".join(html.escape(x) for x in (text or "").split("\n"))
    attribute = f" class='{classname}'" if classname else ""
    return f"<p{attribute}>{content}</p>"


def update_generation_info(generation_info: str, html_info: str, img_index: int):
    """Infotext of the picture now selected in the gallery."""
    try:
        texts = json.loads(generation_info)["infotexts"]
        return plaintext_to_html(texts[img_index]), gr.update()
    except (ValueError, KeyError, IndexError, TypeError):
        return html_info, gr.update()


@dataclass
class OutputPanel:
    gallery: Any = None
    generation_info: Any = None
    infotext: Any = None
    html_log: Any = None
    button_upscale: Any = None


def create_output_panel(tabname: str, outdir: str, toprow=None) -> OutputPanel:
    """Gallery, its buttons and the info lines."""
    panel = OutputPanel()
    with gr.Column(elem_id=f"{tabname}_results"), gr.Column(variant="panel", elem_id=f"{tabname}_results_panel"):
        with gr.Group(elem_id=f"{tabname}_gallery_container"):
            gr.HTML(elem_id=f"{tabname}_progress", value="")
            shows_only = {"interactive": False} if GRADIO_4 else {}  # or the empty gallery asks for files
            panel.gallery = gr.Gallery(
                label="Output", show_label=False, elem_id=f"{tabname}_gallery", columns=4, preview=True, **shows_only
            )
        with gr.Row(elem_classes="image-buttons", elem_id=f"image_buttons_{tabname}"):
            send = ToolButton("\U0001f5bc\ufe0f", elem_id=f"{tabname}_send_to_img2img")
            if tabname == "txt2img":
                panel.button_upscale = ToolButton("\u2728", elem_id=f"{tabname}_upscale")
        with gr.Group():
            panel.infotext = gr.HTML(elem_id=f"html_info_{tabname}", elem_classes="infotext")
            panel.html_log = gr.HTML(elem_id=f"html_log_{tabname}", elem_classes="html-log")
            panel.generation_info = gr.Textbox(visible=False, elem_id=f"generation_info_{tabname}")
            button = gr.Button(visible=False, elem_id=f"{tabname}_generation_info_button")
            button.click(
                fn=update_generation_info,
                inputs=[panel.generation_info, panel.infotext, panel.infotext],
                outputs=[panel.infotext, panel.infotext],
                show_progress=False,
                **js_argument("(x, y, z) => [x, y, selected_gallery_index()]"),
            )
        register_paste_params_button(
            ParamBinding(
                paste_button=send, tabname="img2img", source_tabname=tabname, source_image_component=panel.gallery
            )
        )
    return panel


def create_refresh_button(refresh_component, refresh_method, refreshed_args, elem_id: str) -> ToolButton:
    """A button that calls `refresh_method` and gives the component its new arguments."""
    components = refresh_component if isinstance(refresh_component, list) else [refresh_component]

    def refresh():
        refresh_method()
        changes = refreshed_args() if callable(refreshed_args) else dict(refreshed_args or {})
        updates = [gr.update(**(changes or {})) for _ in components]
        return updates if len(components) > 1 else updates[0]

    button = ToolButton(value=refresh_symbol, elem_id=elem_id)
    button.click(fn=refresh, inputs=[], outputs=components)
    return button


def setup_dialog(*args, **kwargs) -> None:
    """Extensions may call this; the page has no dialogs."""
    del args, kwargs


def interrupt() -> None:
    """What the Interrupt button does: the first press may let the current image finish."""
    state = shared.state
    if not state.stopping_generation and state.job_count > 1 and shared.opts.interrupt_after_current:
        state.stop_generating()
    else:
        state.interrupt()
