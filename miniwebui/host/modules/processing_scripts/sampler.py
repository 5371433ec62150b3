"""Sampler, schedule type and steps of the page."""

import gradio as gr
from modules import scripts, sd_samplers, sd_schedulers
from modules.infotext_utils import PasteField
from modules.ui_components import FormRow


class ScriptSampler(scripts.ScriptBuiltinUI):
    """Always on; the API sets these fields itself."""

    section = "sampler"

    def title(self):
        return "Sampler"

    def ui(self, is_img2img):
        names = [x.name for x in sd_samplers.visible_samplers()]
        schedules = [x.label for x in sd_schedulers.schedulers]
        tab = self.tabname
        with FormRow(elem_id=f"sampler_selection_{tab}"):
            sampler = gr.Dropdown(label="Sampling method", elem_id=f"{tab}_sampling", choices=names, value=names[0])
            schedule = gr.Dropdown(
                label="Schedule type", elem_id=f"{tab}_scheduler", choices=schedules, value=schedules[0]
            )
            steps = gr.Slider(minimum=1, maximum=150, step=1, elem_id=f"{tab}_steps", label="Sampling steps", value=20)
        self.infotext_fields = [
            PasteField(steps, "Steps", api="steps"),
            PasteField(sampler, lambda d: sd_samplers.names_of_infotext(d)[0], api="sampler_name"),
            PasteField(schedule, lambda d: sd_samplers.names_of_infotext(d)[1], api="scheduler"),
        ]
        return steps, sampler, schedule

    def setup(self, p, steps, sampler, schedule):
        p.steps, p.sampler_name, p.scheduler = int(steps), sampler, schedule
