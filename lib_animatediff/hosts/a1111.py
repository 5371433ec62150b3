"""AUTOMATIC1111's WebUI (v1.10.1 and relatives): ldm and sgm models, ``alphas_cumprod`` on the model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from modules import sd_models, sd_unet
from torch import nn

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.hosts.clip_order import ClipOrder, clip_order
from lib_animatediff.hosts.webui import SwappedSchedule, WebUI


class A1111Schedule(SwappedSchedule):
    """The host derives its working table from ``alphas_cumprod_original`` (downcast, zero terminal SNR).

    Ours goes there, and the host's own function makes the rest.
    """

    def get_tables(self) -> tuple:
        return self.model.alphas_cumprod, self.model.alphas_cumprod_original

    def set_tables(self, tables: tuple) -> None:
        self.model.alphas_cumprod, self.model.alphas_cumprod_original = tables

    def install_tables(self) -> None:
        self.model.alphas_cumprod_original = self.table.to(self.own_tables[0].device)
        sd_models.apply_alpha_schedule_override(self.model, self.p)


class A1111(WebUI):
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

    def low_memory(self, p: Any) -> bool:
        return bool(getattr(p.sd_model, "lowvram", False))

    def noise_schedule(self, p: Any, sampler: Any, alphas_cumprod: torch.Tensor) -> A1111Schedule:
        return A1111Schedule(p, sampler, alphas_cumprod)

    def clip_order(self, sampler: Any) -> AbstractContextManager[ClipOrder]:
        return clip_order(sampler.model_wrap_cfg)
