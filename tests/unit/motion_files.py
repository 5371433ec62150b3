"""Tensors of motion module files, small enough to write by the dozen."""

import functools

import torch

from lib_animatediff.motion.module import position_table
from tests.unit.test_motion_module import random_tensors

WIDTHS = (32, 64, 96, 96)


def motion_tensors(**layout):
    """Official keys; positions None leaves the tables out, levels 3 is SDXL's layout, mid adds a middle block."""
    return dict(_motion_tensors(**layout))


@functools.cache
def _motion_tensors(*, positions=32, mid=False, levels=4, dtype=torch.float16):
    tensors = {}
    slots = [(f"down_blocks.{i}.motion_modules.{j}", WIDTHS[i]) for i in range(levels) for j in (0, 1)]
    slots += [("mid_block.motion_modules.0", WIDTHS[levels - 1])] * mid
    slots += [(f"up_blocks.{i}.motion_modules.{j}", WIDTHS[levels - 1 - i]) for i in range(levels) for j in (0, 1, 2)]
    for seed, (slot, width) in enumerate(slots):
        for name, tensor in random_tensors(width, seed=seed).items():
            if name.endswith("pos_encoder.pe"):
                if positions is None:
                    continue
                tensor = position_table(width, positions)[None]
            tensors[f"{slot}.temporal_transformer.{name}"] = tensor.to(dtype).contiguous()
    return tensors


def to_diffusers(tensors):
    """The keys of diffusers' MotionAdapter, as its conversion script writes them."""
    renamed = {}
    for name, tensor in tensors.items():
        new = name.replace(".temporal_transformer", "").replace("norms.0", "norm1").replace("norms.1", "norm2")
        new = (
            new.replace("ff_norm", "norm3")
            .replace("attention_blocks.0", "attn1")
            .replace("attention_blocks.1", "attn2")
        )
        if "attn2.pos_encoder" in new:
            continue
        renamed[new.replace("attn1.pos_encoder.pe", "pos_embed.pe")] = tensor
    return renamed
