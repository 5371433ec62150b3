"""Seed and variation seed of the page."""

import json

import gradio as gr
from modules import infotext_utils, scripts, ui
from modules.gradio_extensons import js_argument
from modules.infotext_utils import PasteField
from modules.ui_components import ToolButton


def seed_of_picture(generation_info: str, index: int, label: str) -> int:
    """The seed written for a picture of the gallery; -1 if there is none."""
    try:
        text = json.loads(generation_info)["infotexts"][index]
    except (ValueError, KeyError, IndexError, TypeError):
        return -1
    return int(infotext_utils.parse_generation_parameters(text, []).get(label, -1))


class ScriptSeed(scripts.ScriptBuiltinUI):
    """Always on; the API sets these fields itself."""

    section = "seed"
    create_group = False

    def title(self):
        return "Seed"

    def ui(self, is_img2img):
        ids = self.elem_id
        with gr.Row(elem_id=ids("seed_row")):
            seed = gr.Number(label="Seed", value=-1, elem_id=self.elem_id("seed"), min_width=100, precision=0)
            random_seed = ToolButton(ui.random_symbol, elem_id=self.elem_id("random_seed"))
            reuse_seed = ToolButton(ui.reuse_symbol, elem_id=self.elem_id("reuse_seed"))
            extra = gr.Checkbox(label="Extra", elem_id=self.elem_id("subseed_show"), value=False)
        with gr.Group(visible=False, elem_id=ids("seed_extras")) as extras, gr.Row(elem_id=ids("subseed_row")):
            subseed = gr.Number(-1, label="Variation seed", elem_id=ids("subseed"), precision=0)
            strength = gr.Slider(
                label="Variation strength", value=0.0, minimum=0, maximum=1, step=0.01, elem_id=ids("subseed_strength")
            )
        random_seed.click(fn=lambda: -1, inputs=[], outputs=[seed], show_progress=False)
        extra.change(fn=lambda x: gr.update(visible=x), inputs=[extra], outputs=[extras], show_progress=False)

        def connect_reuse(event: scripts.OnComponent) -> None:
            reuse_seed.click(
                fn=lambda info, index: seed_of_picture(info, int(index), "Seed"),
                inputs=[event.component, seed],
                outputs=[seed],
                show_progress=False,
                **js_argument("(x, y) => [x, Math.max(0, selected_gallery_index())]"),
            )

        self.on_after_component(connect_reuse, elem_id=f"generation_info_{self.tabname}")
        variation = ((subseed, "", ""), (strength, " strength", "_strength"))
        self.infotext_fields = [
            PasteField(seed, "Seed", api="seed"),
            PasteField(extra, lambda d: "Variation seed" in d),
            *(PasteField(box, f"Variation seed{what}", api=f"subseed{api}") for box, what, api in variation),
        ]
        return seed, extra, subseed, strength

    def setup(self, p, seed, extra, subseed, strength):
        p.seed = seed
        if extra and strength > 0:
            p.subseed, p.subseed_strength = subseed, strength
