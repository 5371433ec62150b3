"""What all WebUIs of A1111's descent have in common: sampler objects, state, image helpers."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from modules import devices, images, sd_samplers_common, shared
from torch import nn


class SwappedSchedule(ABC):
    """A motion model's ``alphas_cumprod`` in a checkpoint's tables and in the sampler's denoiser wrap.

    Samplers copy the tables when their wrap is built, so it is built anew, and the old one is put back at the end
    (img2img uses one sampler for all its batches). Subclasses know where an engine keeps its tables.
    """

    def __init__(self, p: Any, sampler: Any, table: torch.Tensor):
        self.p, self.sampler, self.table = p, sampler, table

    @abstractmethod
    def get_tables(self) -> tuple:
        """Everything in the model that ``install_tables`` changes."""

    @abstractmethod
    def set_tables(self, tables: tuple) -> None:
        """The reverse of ``get_tables``, to the bit."""

    @abstractmethod
    def install_tables(self) -> None:
        """Put the motion model's table into the model, under the user's schedule options."""

    def loaded_weights(self) -> object:
        """Changes when the host loads another checkpoint, be it into the same model object."""
        return self.model.sd_checkpoint_info

    def __enter__(self) -> SwappedSchedule:
        self.model = self.p.sd_model
        self.own_tables = self.get_tables()
        denoiser = self.sampler.model_wrap_cfg
        self.own_wraps = (denoiser.model_wrap, self.sampler.model_wrap, getattr(denoiser, "alphas", None))
        try:
            self.install_tables()
            denoiser.model_wrap = None
            self.sampler.model_wrap = denoiser.inner_model
            if hasattr(denoiser, "alphas"):
                denoiser.alphas = self.model.alphas_cumprod
        except BaseException:
            self.__exit__()
            raise
        return self

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """The checkpoint's own tables for a moment, without touching the sampler."""
        ours, model, weights = self.get_tables(), self.model, self.loaded_weights()
        self.set_tables(self.own_tables)
        try:
            yield
        finally:
            if self.p.sd_model is model and self.loaded_weights() == weights:
                self.set_tables(ours)
            else:  # another checkpoint: its tables are the host's affair until this schedule is entered anew
                self.model = None

    def __exit__(self, *error: object) -> None:
        denoiser = self.sampler.model_wrap_cfg
        if self.model is None:
            denoiser.model_wrap = None
            return
        self.set_tables(self.own_tables)
        denoiser.model_wrap, self.sampler.model_wrap, alphas = self.own_wraps
        if alphas is not None:
            denoiser.alphas = alphas


class WebUI:
    """The part of the Host protocol that A1111 and the Forge family answer alike."""

    def device(self) -> torch.device:
        return devices.device

    def room(self, p: Any, motion_model: nn.Module, window: int) -> AbstractContextManager[None]:
        """Nothing to tell: this host counts no memory."""
        return nullcontext()

    def check_conds(self, cond: Any) -> None:
        """Each frame may have parts and weights of its own."""

    def window(self, p: Any, frames: Sequence[int]) -> AbstractContextManager[None]:
        """Nothing to cut: the denoiser gets everything per frame as arguments."""
        return nullcontext()

    def follow_refiner(
        self, p: Any, sampler: Any, x: torch.Tensor, sigma: torch.Tensor, schedule: SwappedSchedule
    ) -> tuple | None:
        if getattr(p, "refiner_checkpoint_info", None) is None:
            return None
        # A1111 gives its function the sigma; the Forge family the latents, even where it could be given both
        takes_latents = "x" in inspect.signature(sd_samplers_common.apply_refiner).parameters
        with schedule.put_back():
            swapped = sd_samplers_common.apply_refiner(sampler.model_wrap_cfg, x if takes_latents else sigma)
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
