"""The img2img tab's handler."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from modules import images, infotext_utils, processing, scripts, shared
from modules.txt2img import results

MODE_IMAGE = 0
MODE_INPAINT_UPLOAD = 4


def img2img(
    id_task: str, mode: int, prompt: str, negative_prompt: str, prompt_styles: list, init_img, init_img_inpaint,
    init_mask_inpaint, mask_blur: int, inpainting_fill: int, n_iter: int, batch_size: int, cfg_scale: float,
    denoising_strength: float, height: int, width: int, resize_mode: int, inpaint_full_res: int,
    inpaint_full_res_padding: int, inpainting_mask_invert: int, override_settings_texts: list, *args: Any,
):  # fmt: skip
    """Generate what the tab shows."""
    image, mask = (init_img_inpaint, init_mask_inpaint) if mode == MODE_INPAINT_UPLOAD else (init_img, None)
    if image is None:
        raise ValueError("img2img needs an image: put one into the tab's image field.")
    opts = shared.opts
    p = processing.StableDiffusionProcessingImg2Img(
        sd_model=shared.sd_model,
        outpath_samples=opts.outdir_samples or opts.outdir_img2img_samples,
        outpath_grids=opts.outdir_grids or opts.outdir_img2img_grids,
        prompt=prompt,
        negative_prompt=negative_prompt,
        styles=prompt_styles,
        batch_size=int(batch_size),
        n_iter=int(n_iter),
        cfg_scale=cfg_scale,
        width=int(width),
        height=int(height),
        init_images=[images.fix_image(image)],
        mask=images.fix_image(mask),
        mask_blur=mask_blur,
        inpainting_fill=inpainting_fill,
        resize_mode=resize_mode,
        denoising_strength=denoising_strength,
        inpaint_full_res=inpaint_full_res,
        inpaint_full_res_padding=int(inpaint_full_res_padding),
        inpainting_mask_invert=inpainting_mask_invert,
        override_settings=infotext_utils.create_override_settings_dict(override_settings_texts),
    )
    p.scripts = scripts.scripts_img2img
    p.script_args = args
    with closing(p):
        processed = scripts.scripts_img2img.run(p, *args)
        processed = processing.process_images(p) if processed is None else processed
    shared.total_tqdm.clear()
    return results(processed)
