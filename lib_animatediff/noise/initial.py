"""The noise that sampling starts from: how alike the frames are before anything is drawn."""

from __future__ import annotations

import torch
from torch import Tensor

NOISE_KINDS = ("per frame", "mixed", "shared", "repeated", "FreeNoise")


def arrange_noise(noise: Tensor, kind: str, *, context: int, overlap: int, seed: int) -> Tensor:
    """(frames, channels, height, width) of unit variance, from ``noise`` of that shape with frames of their own.

    - ``per frame``  as it is
    - ``mixed``      half the variance is common to all frames (Ge et al. 2023, "Preserve Your Own Correlation", 4.1,
      with alpha = 1)
    - ``shared``     the first frame's for all
    - ``repeated``   that of the first ``context`` frames, again and again
    - ``FreeNoise``  as ``repeated``, but every piece of ``context - overlap`` frames in a new order (Qiu et al. 2023,
      "FreeNoise: Tuning-Free Longer Video Diffusion via Noise Rescheduling", 4.1)

    ``seed`` decides the order and the common part, on every device alike. The variance of each frame stays 1.
    :raises ValueError: an unknown kind.
    """
    frames = noise.shape[0]
    generator = torch.Generator().manual_seed(seed % 2**63)
    if kind == "per frame":
        return noise
    if kind == "mixed":
        common = torch.randn(noise.shape[1:], generator=generator).to(noise)
        return (noise + common) * 0.5**0.5
    if kind == "shared":
        return noise[:1].expand_as(noise).clone()
    if kind not in NOISE_KINDS:
        raise ValueError(f"unknown noise {kind!r}; known are {', '.join(NOISE_KINDS)}")
    order = list(range(min(context, frames)))
    hop = max(1, context - overlap) if kind == "FreeNoise" else context
    while len(order) < frames:
        start = len(order) - context
        piece = order[start : start + hop]
        if kind == "FreeNoise":
            piece = [piece[i] for i in torch.randperm(len(piece), generator=generator)]
        order += piece
    return noise[torch.tensor(order[:frames], device=noise.device)]
