"""Group norms whose statistics are taken over the frames of a clip as well as over space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from lib_animatediff.unet.patch import instance_attributes


def group_norm_across_frames(norm: nn.GroupNorm, x: torch.Tensor, frames: int) -> torch.Tensor:
    """``norm`` over (channels of a group, frames, height, width), separately for each of the batch's clips.

    ``x`` is (clips * frames, channels, height, width). This is ``nn.GroupNorm`` applied to the 5-D tensor
    (clips, channels, frames, height, width), as in the official UNet3DConditionModel without inflated norms.
    Half types are normalised in float32, as the hosts' own GroupNorm32 does.
    """
    clips = x.unflatten(0, (-1, frames)).transpose(1, 2)
    if x.dtype in (torch.float16, torch.bfloat16):
        clips = clips.float()
    weight, bias = (t.to(device=clips.device, dtype=clips.dtype) for t in (norm.weight, norm.bias))
    y = F.group_norm(clips, norm.num_groups, weight, bias, norm.eps)
    return y.transpose(1, 2).reshape(x.shape).to(x.dtype)


@contextmanager
def across_frames(norms: Iterable[nn.Module], frames: Callable[[], int]) -> Iterator[None]:
    """While open, each of ``norms`` (these very objects, not their class) normalises across ``frames()`` frames."""
    with instance_attributes() as patch:
        for norm in norms:
            patch(norm, "forward", lambda x, norm=norm: group_norm_across_frames(norm, x, frames()))
        yield
