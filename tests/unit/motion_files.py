"""Tensors of motion module files, small enough to write by the dozen."""

import functools

import torch

from lib_animatediff.motion.module import position_table

BLOCK = "transformer_blocks.0."
WIDTHS = (32, 64, 96, 96)


def random_tensors(channels, positions=32, seed=0, dtype=torch.float64):
    """Official keys below temporal_transformer, with numbers of ordinary size and a real position table."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, gain=1.0, mean=0.0):
        return mean + gain * torch.randn(*shape, generator=generator, dtype=torch.float64)

    c, tensors = channels, {}
    norms = ("norm", f"{BLOCK}norms.0", f"{BLOCK}norms.1", f"{BLOCK}ff_norm")
    tensors |= {f"{name}.weight": draw(c, gain=0.2, mean=1) for name in norms}
    tensors |= {f"{name}.bias": draw(c, gain=0.2) for name in norms}
    matrices = {"proj_in": (c, c), "proj_out": (c, c), f"{BLOCK}ff.net.0.proj": (8 * c, c)}
    matrices |= {f"{BLOCK}ff.net.2": (c, 4 * c)}
    matrices |= {f"{BLOCK}attention_blocks.{i}.to_out.0": (c, c) for i in (0, 1)}
    for name, (rows, columns) in matrices.items():
        tensors[f"{name}.weight"] = draw(rows, columns, gain=columns**-0.5)
        tensors[f"{name}.bias"] = draw(rows, gain=0.1)
    for i in (0, 1):
        attention = f"{BLOCK}attention_blocks.{i}."
        tensors |= {f"{attention}to_{name}.weight": draw(c, c, gain=1.5 * c**-0.5) for name in "qkv"}
        tensors[f"{attention}pos_encoder.pe"] = position_table(c, positions)[None]
    return {name: tensor if name.endswith("pe") else tensor.to(dtype) for name, tensor in tensors.items()}


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
