"""The Forge family: models carry ``forge_objects``, weights are moved by the host's memory manager.

Two engines share this adapter, ``backend`` (Forge main, reForge's newforge branches) and ``ldm_patched`` (Forge legacy,
Forge Classic, reForge main). They differ in where the UNet reads its sigmas, ``model.predictor`` or
``model.model_sampling``; both have ``set_sigmas`` and the same two buffers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from modules import shared
from torch import nn

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.hosts.clip_order import ClipOrder
from lib_animatediff.hosts.conds import conds_of_frames
from lib_animatediff.hosts.webui import SwappedSchedule, WebUI
from lib_animatediff.motion.files import MotionModel
from lib_animatediff.noise.schedule import rescale_zero_terminal_snr
from lib_animatediff.unet.patch import instance_attribute

_ABSENT = object()
_PATCHER = "animatediff_patcher"
_MEMORY_MANAGERS = ("backend.memory_management", "ldm_patched.modules.model_management")


class ForgeSchedule(SwappedSchedule):
    """A motion model's schedule in the UNet's sigmas and in ``sd_model.alphas_cumprod``."""

    def sigma_owner(self) -> nn.Module:
        """The module whose ``sigmas`` and ``log_sigmas`` turn a sigma into a timestep of the UNet."""
        model = self.model.forge_objects.unet.model
        return model.predictor if hasattr(model, "predictor") else model.model_sampling

    def loaded_weights(self) -> object:
        return self.model.forge_objects.unet.model

    def get_tables(self) -> tuple:
        owner = self.sigma_owner()
        return getattr(self.model, "alphas_cumprod", _ABSENT), owner.sigmas, owner.log_sigmas

    def set_tables(self, tables: tuple) -> None:
        """Both buffers as they were: ``set_sigmas`` would compute the logarithms anew and may miss the last bit."""
        alphas_cumprod, sigmas, log_sigmas = tables
        owner = self.sigma_owner()
        owner.register_buffer("sigmas", sigmas)
        owner.register_buffer("log_sigmas", log_sigmas)
        if alphas_cumprod is not _ABSENT:
            self.model.alphas_cumprod = alphas_cumprod
        elif hasattr(self.model, "alphas_cumprod"):
            del self.model.alphas_cumprod

    def install_tables(self) -> None:
        owner = self.sigma_owner()
        table = self.table.to(owner.sigmas.device)
        if shared.opts.sd_noise_schedule == "Zero Terminal SNR":
            table = rescale_zero_terminal_snr(table)
        owner.set_sigmas(((1 - table) / table) ** 0.5)
        self.model.alphas_cumprod = table


class Forge(WebUI):
    """The adapter for the Forge family."""

    label = "Forge"

    def unet(self, p: Any) -> nn.Module:
        return p.sd_model.forge_objects.unet.model.diffusion_model

    def check(self, p: Any) -> None:
        if not hasattr(p.sd_model, "forge_objects"):
            raise UnsupportedError(
                "AnimateDiff found no checkpoint loaded. Choose a Stable Diffusion checkpoint first."
            )
        if hasattr(self.unet(p), "_orig_mod"):
            raise UnsupportedError(
                "AnimateDiff cannot animate a compiled UNet (torch.compile): it would skip the motion modules. "
                "Start the WebUI without its compile option."
            )

    def low_memory(self, p: Any) -> bool:
        """False: where the weights lie is the memory manager's affair, which knows them (see ``room``)."""
        return False

    def noise_schedule(self, p: Any, sampler: Any, alphas_cumprod: torch.Tensor) -> ForgeSchedule:
        return ForgeSchedule(p, sampler, alphas_cumprod)

    def clip_order(self, sampler: Any) -> AbstractContextManager[ClipOrder]:
        """Forge evaluates each part of an ``AND`` prompt as a batch of all frames: nothing is to be sorted."""
        return nullcontext(ClipOrder())

    def check_conds(self, cond: Any) -> None:
        """Forge takes the weights of ``AND`` parts from one frame for all of them."""
        if len({tuple(part.weight for part in parts) for parts in cond.batch}) > 1:
            raise UnsupportedError(
                "This WebUI knows one weight of each AND part for all frames; the prompts of this animation have "
                "several. Give the parts the same weights in every keyframe."
            )

    @contextmanager
    def window(self, p: Any, frames: Sequence[int]) -> Iterator[None]:
        """reForge's dynamic clip skip: the denoiser takes the step's prompts from ``p``, whatever it was given."""
        sets = vars(p).get("dynamic_clip_skip_sets")
        if not sets:
            yield
            return
        cut = {clip_skip: conds_of_frames(*conds, frames) for clip_skip, conds in sets.items()}
        with instance_attribute(p, "dynamic_clip_skip_sets", cut):
            yield

    @contextmanager
    def room(self, p: Any, motion_model: MotionModel, window: int) -> Iterator[None]:
        """Tell the memory manager of the motion model, and that only one window of frames is computed at a time."""
        objects = p.sd_model.forge_objects
        own = objects.unet
        unet = own.clone()
        motion_model.to(dtype=_compute_dtype(own.model))
        if _PATCHER not in vars(motion_model):
            # kept with the model: the manager knows a model by its patcher, a new one would be counted twice
            patcher = unet.add_extra_torch_module_during_sampling(motion_model, cast_to_unet_dtype=False)
            vars(motion_model)[_PATCHER] = patcher
            motion_model.on_release(_leave_memory_manager)
        unet.extra_model_patchers_during_sampling = [
            *own.extra_model_patchers_during_sampling,
            vars(motion_model)[_PATCHER],
        ]
        if hasattr(unet, "set_memory_peak_estimation_modifier"):
            estimate = own.model_options.get("memory_peak_estimation_modifier", own.memory_required)
            unet.set_memory_peak_estimation_modifier(lambda shape: estimate([min(shape[0], 2 * window), *shape[1:]]))
        objects.unet = unet
        try:
            yield
        finally:
            unet.extra_model_patchers_during_sampling = []  # the manager keeps this clone until the next sampling
            if objects.unet is unet:
                objects.unet = own


def _leave_memory_manager(motion_model: Any) -> None:
    """The manager's list keeps every model it ever loaded alive; take the motion model out of it."""
    patcher = vars(motion_model).pop(_PATCHER)
    for name in _MEMORY_MANAGERS:
        loaded = getattr(sys.modules.get(name), "current_loaded_models", [])
        for entry in [entry for entry in loaded if entry.model is patcher]:
            entry.model_unload()  # the manager's own books: what it believes to be on the device
            loaded.remove(entry)


def _compute_dtype(model: Any) -> torch.dtype:
    """The dtype in which the UNet computes; what it stores may be smaller (fp8, nf4, gguf)."""
    for name in ("computation_dtype", "manual_cast_dtype"):
        dtype = getattr(model, name, None)
        if dtype is not None:
            return dtype
    return model.get_dtype()
