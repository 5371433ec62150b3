"""The page: txt2img, img2img, the extensions' tabs, settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from modules import (
    infotext_utils,
    script_callbacks,
    scripts,
    sd_models,
    sd_samplers,
    sd_schedulers,
    shared,
    ui_settings,
)
from modules.call_queue import wrap_gradio_gpu_call
from modules.gradio_extensons import GRADIO_4, js_argument
from modules.infotext_utils import PasteField
from modules.ui_common import OutputPanel, create_output_panel, create_refresh_button, plaintext_to_html  # noqa: F401
from modules.ui_components import FormGroup, FormRow, InputAccordion, ToolButton
from modules.ui_gradio_extensions import reload_javascript
from modules.ui_toprow import Toprow

random_symbol = "\U0001f3b2\ufe0f"
reuse_symbol = "\u267b\ufe0f"
switch_values_symbol = "\u21c5"
txt2img_paste_fields: list = []
img2img_paste_fields: list = []

SAME_CHECKPOINT, SAME_SAMPLER, SAME_SCHEDULER = "Use same checkpoint", "Use same sampler", "Use same scheduler"
_IMAGE_SOURCE = {"sources": ["upload", "clipboard"]} if GRADIO_4 else {"source": "upload"}


@dataclass
class _Tab:
    """Components that both tabs have."""

    toprow: Toprow
    width: Any = None
    height: Any = None
    batch_count: Any = None
    batch_size: Any = None
    cfg_scale: Any = None
    denoising_strength: Any = None
    override_settings: Any = None
    custom_inputs: list | None = None


def _slider(label: str, value: float, low: float, high: float, step: float, elem_id: str, **kwargs):
    return gr.Slider(minimum=low, maximum=high, step=step, label=label, value=value, elem_id=elem_id, **kwargs)


def _size_and_batch(tab: _Tab, name: str) -> None:
    with FormRow():
        with gr.Column(elem_id=f"{name}_column_size", scale=4):
            tab.width = _slider("Width", 512, 64, 2048, 8, f"{name}_width")
            tab.height = _slider("Height", 512, 64, 2048, 8, f"{name}_height")
        switch = ToolButton(switch_values_symbol, elem_id=f"{name}_res_switch_btn")
        with gr.Column(elem_id=f"{name}_column_batch"):
            tab.batch_count = _slider("Batch count", 1, 1, 100, 1, f"{name}_batch_count")
            tab.batch_size = _slider("Batch size", 1, 1, 8, 1, f"{name}_batch_size")
    sides = [tab.width, tab.height]
    switch.click(fn=lambda w, h: (h, w), inputs=sides, outputs=sides, show_progress=False)


def _override_settings(name: str):
    # Pasting puts in values that were no choices before; Gradio 3 lets a multiselect have them, 4 wants to be told.
    custom = {"allow_custom_value": True} if GRADIO_4 else {}
    return gr.Dropdown(
        choices=[],
        value=[],
        label="Override settings",
        visible=False,
        elem_id=f"{name}_override_settings",
        multiselect=True,
        **custom,
    )


def _finish_settings_column(tab: _Tab, runner: scripts.ScriptRunner, name: str) -> None:
    runner.setup_ui_for_section("cfg")
    runner.setup_ui_for_section("seed")
    runner.setup_ui_for_section("batch")
    with FormRow(elem_id=f"{name}_override_settings_row"):
        tab.override_settings = _override_settings(name)
    with FormGroup(elem_id=f"{name}_script_container"):
        tab.custom_inputs = runner.setup_ui()
    runner.setup_ui_for_section("scripts")


def _common_paste_fields(tab: _Tab) -> list[PasteField]:
    return [
        PasteField(tab.toprow.prompt, "Prompt", api="prompt"),
        PasteField(tab.toprow.negative_prompt, "Negative prompt", api="negative_prompt"),
        PasteField(tab.cfg_scale, "CFG scale", api="cfg_scale"),
        PasteField(tab.width, "Size-1", api="width"),
        PasteField(tab.height, "Size-2", api="height"),
        PasteField(tab.batch_size, "Batch size", api="batch_size"),
        PasteField(tab.denoising_strength, "Denoising strength", api="denoising_strength"),
    ]


def _register_paste(tab: _Tab, name: str, fields: list, init_img, runner: scripts.ScriptRunner) -> None:
    infotext_utils.add_paste_fields(name, init_img, [*fields, *runner.infotext_fields], tab.override_settings)
    infotext_utils.register_paste_params_button(
        infotext_utils.ParamBinding(
            paste_button=tab.toprow.paste, tabname=name, source_text_component=tab.toprow.prompt,
            source_image_component=None,
        )
    )  # fmt: skip


def _outputs(panel: OutputPanel) -> list:
    return [panel.gallery, panel.generation_info, panel.infotext, panel.html_log]


def _submit(function: str, tab: str, inputs: list) -> dict[str, str]:
    """Event arguments for a generation: the page's function makes a task id. Gradio hands it the outputs too, and
    takes what it returns for the inputs, hence the cut."""
    return js_argument(f"(...values) => {function}('{tab}', values.slice(0, {len(inputs)}))")


def _connect_generation(tab: _Tab, name: str, fn, inputs: list, panel: OutputPanel) -> None:
    handler = wrap_gradio_gpu_call(fn, extra_outputs=[None, "", ""])
    event = {"fn": handler, "inputs": inputs, "outputs": _outputs(panel), "show_progress": False}
    tab.toprow.prompt.submit(**event, **_submit("submitTask", name, inputs))
    tab.toprow.submit.click(**event, **_submit("submitTask", name, inputs))


def _hires_fix() -> dict[str, Any]:
    """The accordion of the second pass; its components by their name in txt2img()."""
    names = sd_samplers.visible_sampler_names()
    checkpoints = [SAME_CHECKPOINT, *sd_models.checkpoint_tiles(use_short=True)]
    upscalers = [*shared.latent_upscale_modes, *[x.name for x in shared.sd_upscalers]]
    hr: dict[str, Any] = {}
    with InputAccordion(False, label="Hires. fix", elem_id="txt2img_hr") as hr["enable_hr"]:
        with FormRow():
            hr["hr_upscaler"] = gr.Dropdown(
                label="Upscaler", elem_id="txt2img_hr_upscaler", choices=upscalers,
                value=shared.latent_upscale_default_mode,
            )  # fmt: skip
            hr["hr_second_pass_steps"] = _slider("Hires steps", 0, 0, 150, 1, "txt2img_hires_steps")
            hr["denoising_strength"] = _slider("Denoising strength", 0.7, 0, 1, 0.01, "txt2img_denoising_strength")
        with FormRow():
            hr["hr_scale"] = _slider("Upscale by", 2.0, 1, 4, 0.05, "txt2img_hr_scale")
            hr["hr_resize_x"] = _slider("Resize width to", 0, 0, 2048, 8, "txt2img_hr_resize_x")
            hr["hr_resize_y"] = _slider("Resize height to", 0, 0, 2048, 8, "txt2img_hr_resize_y")
        with FormRow():
            hr["hr_checkpoint_name"] = gr.Dropdown(
                label="Checkpoint", elem_id="hr_checkpoint", choices=checkpoints, value=SAME_CHECKPOINT
            )
            hr["hr_sampler_name"] = gr.Dropdown(
                label="Hires sampling method", elem_id="hr_sampler", choices=[SAME_SAMPLER, *names], value=SAME_SAMPLER
            )
            hr["hr_scheduler"] = gr.Dropdown(
                label="Hires schedule type", elem_id="hr_scheduler", value=SAME_SCHEDULER,
                choices=[SAME_SCHEDULER, *[x.label for x in sd_schedulers.schedulers]],
            )  # fmt: skip
        with FormRow():
            hr["hr_prompt"] = gr.Textbox(label="Hires prompt", elem_id="hires_prompt", lines=2)
            hr["hr_negative_prompt"] = gr.Textbox(label="Hires negative prompt", elem_id="hires_neg_prompt", lines=2)
    return hr


def _create_txt2img() -> None:
    from modules import txt2img

    runner = scripts.scripts_txt2img
    tab = _Tab(Toprow("txt2img"))
    dummy = gr.Textbox(visible=False, value="")
    with gr.Row():
        with gr.Column(elem_id="txt2img_settings"):
            runner.prepare_ui()
            runner.setup_ui_for_section("sampler")
            with gr.Column(elem_id="txt2img_accordions"):
                hr = _hires_fix()
                runner.setup_ui_for_section("accordions")
            runner.setup_ui_for_section("checkboxes")
            _size_and_batch(tab, "txt2img")
            runner.setup_ui_for_section("dimensions")
            tab.cfg_scale = _slider("CFG Scale", 7.0, 1, 30, 0.5, "txt2img_cfg_scale")
            _finish_settings_column(tab, runner, "txt2img")
        panel = create_output_panel("txt2img", shared.opts.outdir_txt2img_samples, tab.toprow)
    tab.denoising_strength = hr["denoising_strength"]

    inputs = [
        dummy, tab.toprow.prompt, tab.toprow.negative_prompt, tab.batch_count, tab.batch_size,
        tab.cfg_scale, tab.height, tab.width, hr["enable_hr"], hr["denoising_strength"], hr["hr_scale"],
        hr["hr_upscaler"], hr["hr_second_pass_steps"], hr["hr_resize_x"], hr["hr_resize_y"],
        hr["hr_checkpoint_name"], hr["hr_sampler_name"], hr["hr_scheduler"], hr["hr_prompt"],
        hr["hr_negative_prompt"], tab.override_settings, *tab.custom_inputs,
    ]  # fmt: skip
    _connect_generation(tab, "txt2img", txt2img.txt2img, inputs, panel)
    upscale_inputs = [dummy, panel.gallery, dummy, panel.generation_info, *inputs[1:]]
    panel.button_upscale.click(
        fn=wrap_gradio_gpu_call(txt2img.txt2img_upscale, extra_outputs=[None, "", ""]),
        inputs=upscale_inputs,
        outputs=_outputs(panel),
        show_progress=False,
        **_submit("submitUpscale", "txt2img", upscale_inputs),
    )

    def uses_hires(params: dict) -> bool:
        return "Denoising strength" in params and bool(
            {"Hires upscale", "Hires upscaler", "Hires resize-1"} & set(params)
        )

    fields = [
        *_common_paste_fields(tab),
        PasteField(hr["enable_hr"], uses_hires, api="enable_hr"),
        PasteField(hr["hr_scale"], "Hires upscale", api="hr_scale"),
        PasteField(hr["hr_upscaler"], "Hires upscaler", api="hr_upscaler"),
        PasteField(hr["hr_second_pass_steps"], "Hires steps", api="hr_second_pass_steps"),
        PasteField(hr["hr_resize_x"], "Hires resize-1", api="hr_resize_x"),
        PasteField(hr["hr_resize_y"], "Hires resize-2", api="hr_resize_y"),
        PasteField(hr["hr_checkpoint_name"], "Hires checkpoint", api="hr_checkpoint_name"),
        PasteField(hr["hr_sampler_name"], lambda d: sd_samplers.hr_names_of_infotext(d)[0], api="hr_sampler_name"),
        PasteField(hr["hr_scheduler"], lambda d: sd_samplers.hr_names_of_infotext(d)[1], api="hr_scheduler"),
        PasteField(hr["hr_prompt"], "Hires prompt", api="hr_prompt"),
        PasteField(hr["hr_negative_prompt"], "Hires negative prompt", api="hr_negative_prompt"),
    ]
    _register_paste(tab, "txt2img", fields, None, runner)


def _image(label: str, elem_id: str, mode: str = "RGBA"):
    return gr.Image(
        label=label, elem_id=elem_id, interactive=True, type="pil", image_mode=mode,
        height=shared.opts.img2img_editor_height, **_IMAGE_SOURCE,
    )  # fmt: skip


def _inpaint_controls() -> dict[str, Any]:
    controls: dict[str, Any] = {}
    with gr.Accordion("Inpaint", open=False, elem_id="inpaint_controls"):
        controls["mask_blur"] = _slider("Mask blur", 4, 0, 64, 1, "img2img_mask_blur")
        for name, label, choices, elem_id in (
            ("inpainting_mask_invert", "Mask mode", ["Inpaint masked", "Inpaint not masked"], "img2img_mask_mode"),
            ("inpainting_fill", "Masked content", ["fill", "original", "latent noise", "latent nothing"],
             "img2img_inpainting_fill"),
            ("inpaint_full_res", "Inpaint area", ["Whole picture", "Only masked"], "img2img_inpaint_full_res"),
        ):  # fmt: skip
            value = "original" if name == "inpainting_fill" else choices[0]
            controls[name] = gr.Radio(label=label, choices=choices, value=value, type="index", elem_id=elem_id)
        controls["inpaint_full_res_padding"] = _slider(
            "Only masked padding, pixels", 32, 0, 256, 4, "img2img_inpaint_full_res_padding"
        )
    return controls


def _create_img2img() -> None:
    from modules import img2img

    runner = scripts.scripts_img2img
    tab = _Tab(Toprow("img2img"))
    dummy = gr.Textbox(visible=False, value="")
    with gr.Row():
        with gr.Column(elem_id="img2img_settings"):
            runner.prepare_ui()
            mode = gr.Number(img2img.MODE_IMAGE, visible=False, precision=0)
            with gr.Tabs(elem_id="mode_img2img"):
                with gr.TabItem("img2img", elem_id="img2img_img2img_tab") as tab_image:
                    init_img = _image("Image for img2img", "img2img_image")
                with gr.TabItem("Inpaint upload", elem_id="img2img_inpaint_upload_tab") as tab_inpaint:
                    inpaint_base = _image("Image for img2img", "img_inpaint_base")
                    inpaint_mask = _image("Mask", "img_inpaint_mask")
            for item, number in ((tab_image, img2img.MODE_IMAGE), (tab_inpaint, img2img.MODE_INPAINT_UPLOAD)):
                item.select(fn=lambda n=number: n, inputs=[], outputs=[mode])
            runner.setup_ui_for_section("image")
            resize_mode = gr.Radio(
                label="Resize mode", elem_id="resize_mode", type="index", value="Just resize",
                choices=["Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)"],
            )  # fmt: skip
            inpaint = _inpaint_controls()
            runner.setup_ui_for_section("inpaint")
            runner.setup_ui_for_section("sampler")
            with gr.Column(elem_id="img2img_accordions"):
                runner.setup_ui_for_section("accordions")
            runner.setup_ui_for_section("checkboxes")
            _size_and_batch(tab, "img2img")
            runner.setup_ui_for_section("dimensions")
            tab.denoising_strength = _slider("Denoising strength", 0.75, 0, 1, 0.01, "img2img_denoising_strength")
            tab.cfg_scale = _slider("CFG Scale", 7.0, 1, 30, 0.5, "img2img_cfg_scale")
            _finish_settings_column(tab, runner, "img2img")
        panel = create_output_panel("img2img", shared.opts.outdir_img2img_samples, tab.toprow)

    inputs = [
        dummy, mode, tab.toprow.prompt, tab.toprow.negative_prompt, init_img, inpaint_base,
        inpaint_mask, inpaint["mask_blur"], inpaint["inpainting_fill"], tab.batch_count, tab.batch_size,
        tab.cfg_scale, tab.denoising_strength, tab.height, tab.width, resize_mode, inpaint["inpaint_full_res"],
        inpaint["inpaint_full_res_padding"], inpaint["inpainting_mask_invert"], tab.override_settings,
        *tab.custom_inputs,
    ]  # fmt: skip
    _connect_generation(tab, "img2img", img2img.img2img, inputs, panel)
    fields = [
        *_common_paste_fields(tab),
        PasteField(inpaint["mask_blur"], "Mask blur", api="mask_blur"),
        PasteField(inpaint["inpainting_mask_invert"], "Mask mode"),
        PasteField(inpaint["inpainting_fill"], "Masked content"),
        PasteField(inpaint["inpaint_full_res"], "Inpaint area"),
        PasteField(inpaint["inpaint_full_res_padding"], "Masked area padding", api="inpaint_full_res_padding"),
    ]
    _register_paste(tab, "img2img", fields, init_img, runner)
    infotext_utils.add_paste_fields("inpaint", inpaint_base, None)


def create_ui() -> gr.Blocks:
    """The whole page; also fills the script runners and the paste fields that the API uses."""
    reload_javascript()
    infotext_utils.reset()
    settings = ui_settings.UiSettings()
    settings.register_settings()

    with gr.Blocks(analytics_enabled=False, title="miniwebui") as demo:
        settings.create_header()
        with gr.Tabs(elem_id="tabs"):
            for name, create, is_img2img in (("txt2img", _create_txt2img, False), ("img2img", _create_img2img, True)):
                runner = scripts.scripts_img2img if is_img2img else scripts.scripts_txt2img
                scripts.scripts_current = runner
                runner.initialize_scripts(is_img2img)
                with gr.TabItem(name, id=name, elem_id=f"tab_{name}"):
                    create()
            scripts.scripts_current = None
            for interface, label, identifier in script_callbacks.ui_tabs_callback():
                with gr.TabItem(label, id=identifier, elem_id=f"tab_{identifier}"):
                    interface.render()
            with gr.TabItem("Settings", id="settings", elem_id="tab_settings"):
                settings.create_ui()
        infotext_utils.connect_paste_params_buttons()
        settings.connect_load(demo)
    shared.tab_names = ["txt2img", "img2img", "settings"]
    return demo


def ping() -> dict:
    """The server is up."""
    return {}


def setup_ui_api(app) -> None:
    """Small routes the page and monitors use."""
    app.add_api_route("/internal/ping", ping, methods=["GET"])
