"""What the run asks of a host. One adapter per kind of engine answers it; nothing else knows a host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import nn


class ClipOrder(Protocol):
    """What a host must know before each denoiser call to keep the frames of a clip together."""

    frames: int
    parts: int
    error: Exception | None


class NoiseSchedule(Protocol):
    """A motion model's noise schedule, in place of the checkpoint's own for the length of a ``with`` block."""

    def put_back(self) -> AbstractContextManager[None]:
        """The host's own tables for a moment, without touching the sampler (while the host swaps checkpoints)."""

    def __enter__(self) -> NoiseSchedule: ...

    def __exit__(self, *error: object) -> None: ...


class Host(Protocol):
    """One WebUI engine. ``p`` is the host's processing object, ``sampler`` the object in ``p.sampler``."""

    label: str

    def unet(self, p: Any) -> nn.Module:
        """The UNet the next sampling step runs on."""

    def check(self, p: Any) -> None:
        """Raise UnsupportedError when the loaded model or an active option bypasses the UNet's modules."""

    def device(self) -> torch.device:
        """Where the host computes."""

    def low_memory(self, p: Any) -> bool:
        """Whether the host was told to keep weights off the device when they are not in use."""

    def noise_schedule(self, p: Any, sampler: Any, alphas_cumprod: torch.Tensor) -> NoiseSchedule:
        """``alphas_cumprod`` (1000,) as the schedule of model and sampler; the host's own options act on top of it."""

    def clip_order(self, sampler: Any) -> AbstractContextManager[ClipOrder]:
        """While open, every batch the UNet sees is made of whole clips: all frames of one prompt in a row."""

    def room(self, p: Any, motion_model: nn.Module, window: int) -> AbstractContextManager[None]:
        """While open, the host's memory manager reckons with ``motion_model`` and with batches of ``window`` frames."""

    def check_conds(self, cond: Any) -> None:
        """Raise UnsupportedError for prompts of the frames that this engine cannot tell apart."""

    def window(self, p: Any, frames: Sequence[int]) -> AbstractContextManager[None]:
        """While open, what ``p`` itself holds per frame, and the denoiser will read there, is of these frames alone."""

    def follow_refiner(
        self, p: Any, sampler: Any, x: torch.Tensor, sigma: torch.Tensor, schedule: NoiseSchedule
    ) -> tuple | None:
        """Let the host swap in the refiner now if it is due; the new (cond, uncond) if it did, else None."""

    def interrupted(self) -> bool:
        """Whether the user asked to stop or skip."""

    def preview(self, latents: torch.Tensor) -> None:
        """Show these latents of all frames as the live preview of the step."""

    def encode_image(self, p: Any, image: Any) -> torch.Tensor:
        """A PIL image as latents (1, channels, height / 8, width / 8), resized to the size of ``p``."""

    def noise_gain(self, p: Any, sampler: Any) -> float:
        """What a variance-preserving latent is multiplied with to stand for the unit noise that ``sample`` takes."""
