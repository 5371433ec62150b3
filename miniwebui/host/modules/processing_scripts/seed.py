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
        with gr.Row(elem_id=self.elem_id("seed_row")):
            seed = gr.Number(label="Seed", value=-1, elem_id=self.elem_id("seed"), min_width=100, precision=0)
            random_seed = ToolButton(ui.random_symbol, elem_id=self.elem_id("random_seed"))
            reuse_seed = ToolButton(ui.reuse_symbol, elem_id=self.elem_id("reuse_seed"))
            extra = gr.Checkbox(label="Extra", elem_id=self.elem_id("subseed_show"), value=False)
        with gr.Group(visible=False, elem_id=self.elem_id("seed_extras")) as extras:
            with gr.Row(elem_id=self.elem_id("subseed_row")):
                subseed = gr.Number(label="Variation seed", value=-1, elem_id=self.elem_id("subseed"), precision=0)
                strength = gr.Slider(
                    label="Variation strength", value=0.0, minimum=0, maximum=1, step=0.01,
                    elem_id=self.elem_id("subseed_strength"),
                )  # fmt: skip
            with gr.Row(elem_id=self.elem_id("seed_resize_from_row")):
                from_w, from_h = (
                    gr.Slider(
                        minimum=0, maximum=2048, step=8, value=0, label=f"Resize seed from {side}",
                        elem_id=self.elem_id(f"seed_resize_from_{side[0]}"),
                    )
                    for side in ("width", "height")
                )  # fmt: skip
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
        self.infotext_fields = [
            PasteField(seed, "Seed", api="seed"),
            PasteField(extra, lambda d: "Variation seed" in d or "Seed resize from-1" in d),
            PasteField(subseed, "Variation seed", api="subseed"),
            PasteField(strength, "Variation seed strength", api="subseed_strength"),
            PasteField(from_w, "Seed resize from-1", api="seed_resize_from_w"),
            PasteField(from_h, "Seed resize from-2", api="seed_resize_from_h"),
        ]
        return seed, extra, subseed, strength, from_w, from_h

    def setup(self, p, seed, extra, subseed, subseed_strength, from_w, from_h):
        p.seed = seed
        if extra and subseed_strength > 0:
            p.subseed = subseed
            p.subseed_strength = subseed_strength
        if extra and from_w > 0 and from_h > 0:
            p.seed_resize_from_w = int(from_w)
            p.seed_resize_from_h = int(from_h)
