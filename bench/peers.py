"""diffusers' motion module of the same shape, when the package is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch

from bench.shapes import POSITIONS


def diffusers_module(channels: int, frames: int, x: torch.Tensor) -> Callable[[], torch.Tensor] | None:
    """A function that runs diffusers' AnimateDiffTransformer3D on ``x``; None without diffusers."""
    if find_spec("diffusers") is None:
        return None
    from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D  # noqa: PLC0415  optional, slow

    module = AnimateDiffTransformer3D(
        num_attention_heads=8,
        attention_head_dim=channels // 8,
        in_channels=channels,
        norm_num_groups=32,
        cross_attention_dim=None,
        attention_bias=False,
        activation_fn="geglu",
        positional_embeddings="sinusoidal",
        num_positional_embeddings=POSITIONS,
        double_self_attention=True,
    )
    module = module.to(x.device, x.dtype).eval()
    return lambda: module(x, num_frames=frames)
