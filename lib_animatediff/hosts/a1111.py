"""AUTOMATIC1111's WebUI (v1.10.1 and relatives): ldm and sgm models, ``alphas_cumprod`` on the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from modules import devices, images, sd_models, sd_samplers_common, sd_unet, shared
from torch import nn

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.hosts import clip_order


class A1111Schedule:
    """A motion model's ``alphas_cumprod`` on an A1111 model and in the sampler's denoiser wrap.

    The host derives its working table from ``alphas_cumprod_original`` (downcast, zero terminal SNR), so ours goes
    in there and the host's own function makes the rest. Samplers copy the table when their wrap is built, hence the
    rebuild on both ends.
    """

    def __init__(self, p: Any, sampler: Any, table: torch.Tensor):
        self.p, self.sampler, self.table = p, sampler, table

    def __enter__(self) -> A1111Schedule:
        self.model = self.p.sd_model
        self.own_tables = self._tables()
        denoiser = self.sampler.model_wrap_cfg
        self.own_wraps = (denoiser.model_wrap, self.sampler.model_wrap, getattr(denoiser, "alphas", None))
        try:
            self._install()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.model.alphas_cumprod, self.model.alphas_cumprod_original

    def _set_tables(self, tables: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.model.alphas_cumprod, self.model.alphas_cumprod_original = tables

    def _install(self) -> None:
        self.model.alphas_cumprod_original = self.table.to(self.own_tables[0].device)
        sd_models.apply_alpha_schedule_override(self.model, self.p)
        denoiser = self.sampler.model_wrap_cfg
        denoiser.model_wrap = None
        self.sampler.model_wrap = denoiser.inner_model
        if hasattr(denoiser, "alphas"):
            denoiser.alphas = self.model.alphas_cumprod

    @contextmanager
    def put_back(self) -> Iterator[None]:
        ours = self._tables()
        self._set_tables(self.own_tables)
        model_before, weights_before = self.model, self.model.sd_checkpoint_info
        try:
            yield
        finally:
            if self.p.sd_model is model_before and model_before.sd_checkpoint_info == weights_before:
                self._set_tables(ours)
            else:  # another checkpoint: its tables are the host's affair until this schedule is entered anew
                self.model = None

    def __exit__(self, *error: object) -> None:
        denoiser = self.sampler.model_wrap_cfg
        if self.model is None:
            denoiser.model_wrap = None
            return
        self._set_tables(self.own_tables)
        denoiser.model_wrap, self.sampler.model_wrap, alphas = self.own_wraps
        if alphas is not None:
            denoiser.alphas = alphas


class A1111:
    """The adapter for A1111 v1.10.1."""

    label = "AUTOMATIC1111"

    def unet(self, p: Any) -> nn.Module:
        return p.sd_model.model.diffusion_model

    def check(self, p: Any) -> None:
        if sd_unet.current_unet is not None:
            raise UnsupportedError(
                f"AnimateDiff cannot animate through the SD Unet '{sd_unet.current_unet.option.label}', which replaces "
                "the checkpoint's own network. Choose None under Settings > Stable Diffusion > SD Unet."
            )
        if getattr(p.sd_model, "cond_stage_key", None) == "edit":
            raise UnsupportedError("AnimateDiff cannot animate InstructPix2Pix checkpoints. Choose another checkpoint.")

    def device(self) -> torch.device:
        return devices.device

    def low_memory(self, p: Any) -> bool:
        return bool(getattr(p.sd_model, "lowvram", False))

    def noise_schedule(self, p: Any, sampler: Any, alphas_cumprod: torch.Tensor) -> A1111Schedule:
        return A1111Schedule(p, sampler, alphas_cumprod)

    def clip_order(self, sampler: Any) -> AbstractContextManager[clip_order.ClipOrder]:
        return clip_order.clip_order(sampler.model_wrap_cfg)

    def follow_refiner(self, p: Any, sampler: Any, sigma: torch.Tensor, schedule: A1111Schedule) -> tuple | None:
        if p.refiner_checkpoint_info is None:
            return None
        with schedule.put_back():
            swapped = sd_samplers_common.apply_refiner(sampler.model_wrap_cfg, sigma)
        return (sampler.sampler_extra_args["cond"], sampler.sampler_extra_args["uncond"]) if swapped else None

    def interrupted(self) -> bool:
        return bool(shared.state.interrupted or shared.state.skipped)

    def preview(self, latents: torch.Tensor) -> None:
        shared.state.current_latent = latents

    def encode_image(self, p: Any, image: Any) -> torch.Tensor:
        image = images.resize_image(p.resize_mode if p.resize_mode < 3 else 0, image.convert("RGB"), p.width, p.height)
        pixels = torch.from_numpy(np.array(image).astype(np.float32) / 255.0).movedim(2, 0).unsqueeze(0)
        pixels = pixels.to(shared.device, dtype=devices.dtype_vae)
        return sd_samplers_common.images_tensor_to_samples(pixels, None, p.sd_model)

    def noise_gain(self, p: Any, sampler: Any) -> float:
        sigmas = getattr(sampler.model_wrap, "sigmas", None)
        if sigmas is None or shared.opts.sgm_noise_multiplier:
            return 1.0
        sigma_max = float(sigmas[-1])
        return (1.0 + sigma_max**2) ** 0.5 / sigma_max
