"""Prompts and buttons at the top of a tab."""

from __future__ import annotations

import gradio as gr

from modules import shared, ui_common
from modules.ui_components import ToolButton

paste_symbol = "\u2199\ufe0f"
clear_prompt_symbol = "\U0001f5d1\ufe0f"


class Toprow:
    """The row of a tab; its components carry A1111's ids."""

    def __init__(self, tab: str) -> None:
        self.tab = tab
        with gr.Row(elem_id=f"{tab}_toprow"):
            with gr.Column(elem_id=f"{tab}_prompt_container", scale=6):
                self.prompt = self._prompt("Prompt", f"{tab}_prompt")
                self.negative_prompt = self._prompt("Negative prompt", f"{tab}_neg_prompt")
            with gr.Column(scale=1, elem_id=f"{tab}_actions_column"):
                with gr.Row(elem_id=f"{tab}_generate_box"):
                    self.interrupt = gr.Button("Interrupt", elem_id=f"{tab}_interrupt")
                    self.skip = gr.Button("Skip", elem_id=f"{tab}_skip")
                    self.submit = gr.Button("Generate", elem_id=f"{tab}_generate", variant="primary")
                with gr.Row(elem_id=f"{tab}_tools"):
                    self.paste = ToolButton(paste_symbol, elem_id="paste" if tab == "txt2img" else "img2img_paste")
                    self.clear = ToolButton(clear_prompt_symbol, elem_id=f"{tab}_clear_prompt")
        # Not queued: they must be heard while a generation runs.
        self.interrupt.click(fn=ui_common.interrupt, inputs=[], outputs=[], queue=False)
        self.skip.click(fn=shared.state.skip, inputs=[], outputs=[], queue=False)
        self.clear.click(fn=lambda: ("", ""), inputs=[], outputs=[self.prompt, self.negative_prompt])

    @staticmethod
    def _prompt(label: str, elem_id: str):
        return gr.Textbox(
            label=label, elem_id=elem_id, show_label=False, lines=3, placeholder=label, elem_classes=["prompt"]
        )
