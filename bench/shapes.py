"""What is measured: the motion modules of SD1.5 and random weights for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_animatediff.motion.module import position_table

POSITIONS = 32


@dataclass(frozen=True)
class Shape:
    """``count`` modules of a motion model (v3) have this width and see latents shrunk by ``scale``."""

    channels: int
    scale: int
    count: int = 5

    def latents(self, clips: int, frames: int, width: int, height: int) -> tuple[int, int, int, int]:
        return clips * frames, self.channels, math.ceil(height / 8 / self.scale), math.ceil(width / 8 / self.scale)


SD15 = (Shape(320, 1), Shape(640, 2), Shape(1280, 4), Shape(1280, 8))


def random_tensors(channels: int, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """The official keys below temporal_transformer, with random numbers of ordinary size."""
    c, block = channels, "transformer_blocks.0."
    generator = torch.Generator().manual_seed(0)

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) / math.sqrt(columns)

    tensors = {}
    for name in ("norm", f"{block}norms.0", f"{block}norms.1", f"{block}ff_norm"):
        tensors |= {f"{name}.weight": torch.ones(c), f"{name}.bias": torch.zeros(c)}
    shapes = {
        "proj_in": (c, c),
        "proj_out": (c, c),
        f"{block}ff.net.0.proj": (8 * c, c),
        f"{block}ff.net.2": (c, 4 * c),
    }
    for i in (0, 1):
        attention = f"{block}attention_blocks.{i}."
        tensors |= {f"{attention}to_{name}.weight": matrix(c, c) for name in "qkv"}
        tensors[f"{attention}pos_encoder.pe"] = position_table(c, POSITIONS)[None]
        shapes[f"{attention}to_out.0"] = (c, c)
    for name, (rows, columns) in shapes.items():
        tensors |= {f"{name}.weight": matrix(rows, columns), f"{name}.bias": torch.zeros(rows)}
    return {name: tensor.to(device, dtype) for name, tensor in tensors.items()}
