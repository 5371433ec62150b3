"""The txt2img tab's handlers."""

from __future__ import annotations

import json
import os
from contextlib import closing
from typing import Any

from PIL import Image

from modules import infotext_utils, processing, scripts, shared
from modules.ui_common import plaintext_to_html


def _or_none(value: str | None) -> str | None:
    """None for the entries "Use same ..." of the second pass."""
    return None if value is None or value.startswith("Use same ") else value


def request_of_page(
    tab: str, prompt: str, negative_prompt: str, n_iter: int, batch_size: int, cfg_scale: float, width: int,
    height: int, override_settings_texts: list,
) -> dict[str, Any]:  # fmt: skip
    """What both tabs ask of the processing."""

    def folder(kind: str) -> str:
        return getattr(shared.opts, f"outdir_{kind}") or getattr(shared.opts, f"outdir_{tab}_{kind}")

    return {
        "sd_model": shared.sd_model, "outpath_samples": folder("samples"), "outpath_grids": folder("grids"),
        "prompt": prompt, "negative_prompt": negative_prompt, "cfg_scale": cfg_scale, "n_iter": int(n_iter),
        "batch_size": int(batch_size), "width": int(width), "height": int(height),
        "override_settings": infotext_utils.create_override_settings_dict(override_settings_texts),
    }  # fmt: skip


def txt2img_create_processing(
    id_task: str, prompt: str, negative_prompt: str, n_iter: int, batch_size: int, cfg_scale: float, height: int,
    width: int, enable_hr: bool, denoising_strength: float, hr_scale: float, hr_upscaler: str,
    hr_second_pass_steps: int, hr_resize_x: int, hr_resize_y: int, hr_checkpoint_name: str, hr_sampler_name: str,
    hr_scheduler: str, hr_prompt: str, hr_negative_prompt: str, override_settings_texts: list, *args: Any,
    force_enable_hr: bool = False,
):  # fmt: skip
    """(the processing of what the tab shows, the values of the scripts)."""
    common = request_of_page(
        "txt2img", prompt, negative_prompt, n_iter, batch_size, cfg_scale, width, height, override_settings_texts
    )
    p = processing.StableDiffusionProcessingTxt2Img(
        **common, enable_hr=enable_hr or force_enable_hr, denoising_strength=denoising_strength, hr_scale=hr_scale,
        hr_upscaler=hr_upscaler, hr_second_pass_steps=int(hr_second_pass_steps), hr_resize_x=int(hr_resize_x),
        hr_resize_y=int(hr_resize_y), hr_checkpoint_name=_or_none(hr_checkpoint_name), hr_prompt=hr_prompt,
        hr_sampler_name=_or_none(hr_sampler_name), hr_scheduler=_or_none(hr_scheduler),
        hr_negative_prompt=hr_negative_prompt,
    )  # fmt: skip
    return p, args


def run_page(p, runner: scripts.ScriptRunner, args) -> processing.Processed:
    """Do the request of a tab with the values of its scripts."""
    p.scripts, p.script_args = runner, args
    with closing(p):
        processed = runner.run(p, *args)
        return processing.process_images(p) if processed is None else processed


def _path_of(item: Any) -> str:
    """File behind an entry of the gallery."""
    while isinstance(item, (list, tuple)):
        item = item[0]
    if isinstance(item, dict):
        item = item.get("name") or item.get("path") or _path_of(item["image"])
    return str(item).rsplit("?", 1)[0]


def txt2img_upscale(id_task: str, gallery: list, gallery_index: int, generation_info: str, *args: Any):
    """Run the second pass on the selected picture and put the result in its place."""
    if not gallery:
        raise ValueError("There is no image to upscale.")
    if not 0 <= int(gallery_index) < len(gallery):
        raise ValueError("Select the image to upscale in the gallery first.")
    index = int(gallery_index)
    info = json.loads(generation_info)

    p, values = txt2img_create_processing(id_task, *args, force_enable_hr=True)
    p.batch_size = p.n_iter = 1
    p.txt2img_upscale = True
    p.firstpass_image = infotext_utils.image_from_url_text(gallery[index])
    made_with = infotext_utils.parse_generation_parameters(info["infotexts"][index], [])
    p.override_settings.update(save_images_before_highres_fix=False)
    # the seeds are the picture's own: set after the part of the page that asks for one
    p.scripts, p.script_args = scripts.scripts_txt2img, values
    p.seed, p.subseed = (made_with.get(label, -1) for label in ("Seed", "Variation seed"))
    processed = run_page(p, scripts.scripts_txt2img, values)

    shown: list[Any] = []
    for number, item in enumerate(gallery):
        if number == index:
            shown.extend(processed.images)
            continue
        stand_in = Image.new("RGB", (1, 1))
        stand_in.already_saved_as = _path_of(item)
        shown.append(stand_in if os.path.isfile(stand_in.already_saved_as) else item)
    info["infotexts"][index : index + 1] = processed.infotexts
    comments = plaintext_to_html(processed.comments, classname="comments")
    return shown, json.dumps(info), plaintext_to_html(processed.info), comments


def txt2img(id_task: str, *args: Any):
    """Generate what the tab shows."""
    p, values = txt2img_create_processing(id_task, *args)
    return results(run_page(p, scripts.scripts_txt2img, values))


def results(processed: processing.Processed):
    """Gallery, generation info, infotext and comments for the page."""
    info = processed.js()
    if shared.opts.samples_log_stdout:
        print(info)
    shown = [] if shared.opts.do_not_show_images else processed.images
    comments = plaintext_to_html(processed.comments, classname="comments")
    return shown, info, plaintext_to_html(processed.info), comments
