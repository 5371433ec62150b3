"""The img2img tab's handler."""

from __future__ import annotations

from typing import Any

from modules import images, processing, scripts
from modules.txt2img import request_of_page, results, run_page

MODE_IMAGE = 0
MODE_INPAINT_UPLOAD = 4


def img2img(
    id_task: str, mode: int, prompt: str, negative_prompt: str, init_img, init_img_inpaint,
    init_mask_inpaint, mask_blur: int, inpainting_fill: int, n_iter: int, batch_size: int, cfg_scale: float,
    denoising_strength: float, height: int, width: int, resize_mode: int, inpaint_full_res: int,
    inpaint_full_res_padding: int, inpainting_mask_invert: int, override_settings_texts: list, *args: Any,
):  # fmt: skip
    """Generate what the tab shows."""
    image, mask = (init_img_inpaint, init_mask_inpaint) if mode == MODE_INPAINT_UPLOAD else (init_img, None)
    if image is None:
        raise ValueError("img2img needs an image: put one into the tab's image field.")
    p = processing.StableDiffusionProcessingImg2Img(
        **request_of_page(
            "img2img", prompt, negative_prompt, n_iter, batch_size, cfg_scale, width, height, override_settings_texts
        ),
        init_images=[images.fix_image(image)], mask=images.fix_image(mask), mask_blur=mask_blur,
        resize_mode=resize_mode, denoising_strength=denoising_strength, inpainting_fill=inpainting_fill,
        inpaint_full_res=inpaint_full_res, inpaint_full_res_padding=int(inpaint_full_res_padding),
        inpainting_mask_invert=inpainting_mask_invert,
    )  # fmt: skip
    return results(run_page(p, scripts.scripts_img2img, args))
