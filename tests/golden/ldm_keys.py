"""Names of UNet tensors: from those of the official code (diffusers 0.11) to those of a latent-diffusion UNet."""

import re

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_TOP = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def to_ldm(name: str) -> str:
    """The LDM name of one official tensor name (SD1.5's layout: 4 levels, 2 layers). Raises KeyError for others."""
    stem, _, leaf = name.rpartition(".")
    if stem in _TOP:
        return f"{_TOP[stem]}.{leaf}"
    match = re.fullmatch(r"(?:(down|up)_blocks\.(\d)|mid_block)\.(\w+?)\.(\d)\.(.+)", name)
    if match is None:
        raise KeyError(name)
    side, level, part, number, rest = match.groups()
    level, number = int(level or 0), int(number)
    if part == "resnets":
        layer, dot, tail = rest.partition(".")
        rest = _RESNET[layer] + dot + tail
    if side is None:
        return f"middle_block.{2 * number if part == 'resnets' else 1}.{rest}"
    place = {"resnets": 0, "attentions": 1}
    if side == "down":
        if part == "downsamplers":
            return f"input_blocks.{3 * level + 3}.0.{rest.replace('conv.', 'op.')}"
        return f"input_blocks.{3 * level + number + 1}.{place[part]}.{rest}"
    if part == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}.{rest}"
    return f"output_blocks.{3 * level + number}.{place[part]}.{rest}"
