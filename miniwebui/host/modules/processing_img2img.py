"""img2img and inpainting."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from modules import devices, images, masking, rng, sd_samplers, shared
from modules.processing_base import StableDiffusionProcessing, latent_size
from modules.processing_txt2img import from_image
from modules.script_base import blend, call_hook
from modules.sd_samplers_common import images_tensor_to_samples

# what is put under the mask, and its name in the infotext; 1 leaves the picture
_MASKED_CONTENT = {0: "fill", 2: "latent noise", 3: "latent nothing"}


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    """An img2img request; with a mask, inpainting."""

    init_images: list = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    image_cfg_scale: float = None
    mask: Any = None
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    mask_blur: int
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float = None
    latent_mask: Image.Image = None
    force_task_id: str = None

    # what the host fills in while it works; no part of a request
    image_mask = mask_for_overlay = nmask = init_latent = image_conditioning = init_img_hash = None

    def __post_init__(self):
        super().__post_init__()
        self.image_mask, self.mask = self.mask, None
        if self.initial_noise_multiplier is None:
            self.initial_noise_multiplier = shared.opts.initial_noise_multiplier

    @property
    def mask_blur(self):
        return self.mask_blur_x if self.mask_blur_x == self.mask_blur_y else None

    @mask_blur.setter
    def mask_blur(self, value):
        if isinstance(value, int):
            self.mask_blur_x = self.mask_blur_y = value

    def _prepare_mask(self):
        """(mask at the size worked at, crop region); fills ``mask_for_overlay`` and ``paste_to``."""
        noted = self.extra_generation_params
        mask = masking.create_binary_mask(self.image_mask, round=self.mask_round)
        if bool(self.inpainting_mask_invert):
            mask, noted["Mask mode"] = ImageOps.invert(mask), "Inpaint not masked"
        if max(self.mask_blur_x, self.mask_blur_y) > 0:
            noted["Mask blur"] = self.mask_blur
            mask = masking.blur(mask, self.mask_blur_x, self.mask_blur_y)
        if not self.inpaint_full_res:
            mask = images.resize_image(self.resize_mode, mask, self.width, self.height)
            doubled = np.clip(np.asarray(mask, dtype=np.float32) * 2, 0, 255).astype(np.uint8)
            self.mask_for_overlay = Image.fromarray(doubled)
            return mask, None
        region = masking.get_crop_region_v2(mask, self.inpaint_full_res_padding)
        if region is None:
            self.inpaint_full_res = False
            self.comment('Unable to perform "Inpaint Only mask" because mask is blank, switch to img2img mode.')
            return None, None
        self.mask_for_overlay = mask
        region = masking.expand_crop_region(region, self.width, self.height, mask.width, mask.height)
        x1, y1, x2, y2 = region
        self.paste_to = (x1, y1, x2 - x1, y2 - y1)
        noted["Inpaint area"] = "Only masked"
        noted["Masked area padding"] = self.inpaint_full_res_padding
        return images.resize_image(2, mask.crop(region), self.width, self.height), region

    def _prepare_image(self, image: Image.Image, mask, region) -> Image.Image:
        """One input picture at the size worked at; its overlay is kept."""
        size = self.width, self.height
        image = images.flatten(image, shared.opts.img2img_background_color)
        if region is None and self.resize_mode != 3:
            image = images.resize_image(self.resize_mode, image, *size)
        if mask is not None:
            if self.mask_for_overlay.size != image.size:
                self.mask_for_overlay = images.resize_image(self.resize_mode, self.mask_for_overlay, *image.size)
            kept = Image.new("RGBa", image.size)
            outside = ImageOps.invert(self.mask_for_overlay.convert("L"))
            kept.paste(image.convert("RGBA").convert("RGBa"), mask=outside)
            self.overlay_images.append(kept.convert("RGBA"))
        if region is not None:
            image = images.resize_image(2, image.crop(region), *size)
        if mask is None or self.inpainting_fill == 1:
            return image
        return masking.fill(image, self.latent_mask if self.latent_mask is not None else mask)

    def init(self, all_prompts, all_seeds, all_subseeds) -> None:
        self.extra_generation_params.update({"Denoising strength": self.denoising_strength})
        self.image_cfg_scale = None  # only InstructPix2Pix checkpoints have one
        self.sampler = sd_samplers.create_sampler(self.sampler_name, model=self.sd_model)
        mask = region = None
        if self.image_mask is not None:
            mask, region = self._prepare_mask()
            self.overlay_images = []
        prepared = []
        for image in self.init_images:
            if shared.opts.save_init_img:
                self.init_img_hash = hashlib.md5(image.tobytes()).hexdigest()
                images.save_image(
                    image, path=shared.opts.outdir_init_images, basename=None, forced_filename=self.init_img_hash,
                    save_to_dirs=False, existing_info=image.info,
                )  # fmt: skip
            prepared.append(from_image(self._prepare_image(image, mask, region)))
        if len(prepared) > max(self.batch_size, 1):
            raise RuntimeError(f"bad number of images passed: {len(prepared)}; expecting {self.batch_size} or less")
        if len(prepared) == 1:
            prepared *= self.batch_size
            self.overlay_images = self.overlay_images and [*self.overlay_images] * self.batch_size
        else:
            self.batch_size = len(prepared)
        batch = torch.stack(prepared).to(devices.device, dtype=devices.dtype_vae)
        self.init_latent = images_tensor_to_samples(batch, model=self.sd_model)
        devices.torch_gc()
        if self.resize_mode == 3:
            size = latent_size(self.width, self.height)
            self.init_latent = torch.nn.functional.interpolate(self.init_latent, size=size, mode="bilinear")
        if mask is not None:
            self._mask_latents(self.latent_mask if self.latent_mask is not None else mask, all_seeds)
        self.image_conditioning = self.img2img_image_conditioning(
            batch * 2 - 1, self.init_latent, mask, self.mask_round
        )

    def _mask_latents(self, mask: Image.Image, all_seeds) -> None:
        """``mask`` (1 where the latent stays) and ``nmask`` (1 where it is made anew), (4, h, w)."""
        channels, height, width = self.init_latent.shape[1:]
        small = np.asarray(mask.convert("RGB").resize((width, height)), dtype=np.float32)[..., 0] / 255
        if self.mask_round:
            small = np.around(small)
        nmask = torch.from_numpy(small).expand(channels, -1, -1).to(devices.device, devices.dtype)
        self.mask, self.nmask = 1.0 - nmask, nmask
        content = _MASKED_CONTENT.get(self.inpainting_fill)
        if content is not None:
            self.extra_generation_params["Masked content"] = content
        if content in ("latent noise", "latent nothing"):
            kept = self.init_latent * self.mask
            noise = rng.ImageRNG(kept.shape[1:], all_seeds[: len(kept)]).next() * nmask if "noise" in content else None
            self.init_latent = kept if noise is None else kept + noise

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        noise = self.rng.next()
        strength = self.initial_noise_multiplier
        if strength != 1:
            self.extra_generation_params.update({"Noise multiplier": strength})
            noise *= strength
        conds = {"c": conditioning, "uc": unconditional_conditioning}
        call_hook(self, "process_before_every_sampling", x=self.init_latent, noise=noise, **conds)
        samples = self.sampler.sample_img2img(
            self, self.init_latent, noise, *conds.values(), image_conditioning=self.image_conditioning
        )
        if self.mask is not None:
            samples = blend(self, samples, self.mask, self.nmask, self.init_latent)
        devices.torch_gc()
        return samples
