"""Change of the checkpoint in the middle of a sampling; done by the samplers, set here."""

import gradio as gr
from modules import scripts, sd_models
from modules.infotext_utils import PasteField
from modules.ui_common import create_refresh_button
from modules.ui_components import InputAccordion


def title_of(name: str | None) -> str | None:
    """Title of the checkpoint an infotext names."""
    return getattr(sd_models.get_closet_checkpoint_match(name), "title", None)


class ScriptRefiner(scripts.ScriptBuiltinUI):
    """Always on; the API sets these fields itself."""

    section = "accordions"
    create_group = False

    def title(self):
        return "Refiner"

    def ui(self, is_img2img):
        with InputAccordion(False, label="Refiner", elem_id=self.elem_id("enable")) as enable, gr.Row():
            checkpoint = gr.Dropdown(
                label="Checkpoint", elem_id=self.elem_id("checkpoint"), value="",
                choices=["", *sd_models.checkpoint_tiles()],
            )  # fmt: skip
            create_refresh_button(
                checkpoint, sd_models.list_models, lambda: {"choices": ["", *sd_models.checkpoint_tiles()]},
                self.elem_id("checkpoint_refresh"),
            )  # fmt: skip
            switch_at = gr.Slider(
                value=0.8, label="Switch at", minimum=0.01, maximum=1.0, step=0.01, elem_id=self.elem_id("switch_at")
            )
        self.infotext_fields = [
            PasteField(enable, lambda d: "Refiner" in d),
            PasteField(checkpoint, lambda d: title_of(d.get("Refiner")), api="refiner_checkpoint"),
            PasteField(switch_at, "Refiner switch at", api="refiner_switch_at"),
        ]
        return enable, checkpoint, switch_at

    def setup(self, p, enable, checkpoint, switch_at):
        on = enable and checkpoint not in (None, "", "None")
        p.refiner_checkpoint = checkpoint if on else None
        p.refiner_switch_at = switch_at if on else None
