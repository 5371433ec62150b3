"""Where a motion module belongs in a latent-diffusion UNet.

A slot is named as the official files name it (``down_blocks.0.motion_modules.1``). Its place is after the last of
{ResBlock, SpatialTransformer} of the layer, before any up- or downsampling (guoyww/AnimateDiff, unet_blocks.py).
Modules are recognised by class *name*: every host brings its own copy of the classes.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

RESNET = "ResBlock"
TRANSFORMER = "SpatialTransformer"
LAYERS_PER_DOWN_BLOCK = 2
LAYERS_PER_UP_BLOCK = 3


def is_resnet(module: nn.Module) -> bool:
    return type(module).__name__ == RESNET


def is_transformer(module: nn.Module) -> bool:
    return type(module).__name__ == TRANSFORMER


def _last_layer(block: nn.Module) -> nn.Module | None:
    """The child of one entry of input_blocks or output_blocks whose output a motion module takes."""
    layers = [child for child in block.children() if is_resnet(child) or is_transformer(child)]
    return layers[-1] if layers else None


def _numbered(blocks: Iterator[nn.Module], prefix: str, per_block: int) -> dict[str, nn.Module]:
    layers = [layer for layer in map(_last_layer, blocks) if layer is not None]
    return {f"{prefix}.{i // per_block}.motion_modules.{i % per_block}": layer for i, layer in enumerate(layers)}


def find_slots(unet: nn.Module) -> dict[str, nn.Module]:
    """All slots of ``unet``: official slot name -> the host's module whose output the motion module takes.

    Works for the ``openaimodel`` UNets of A1111 (ldm, sgm), of the ldm_patched hosts and of Forge's backend. SD1.5
    has 21 slots (8 down, 1 mid, 12 up), SDXL 16 (6 down, 1 mid, 9 up). Whether the middle one is used is the
    motion model's affair. Returns an empty dict when ``unet`` is none of these.
    """
    if not all(hasattr(unet, name) for name in ("input_blocks", "middle_block", "output_blocks")):
        return {}
    slots = _numbered(unet.input_blocks.children(), "down_blocks", LAYERS_PER_DOWN_BLOCK)
    middle = [child for child in unet.middle_block.children() if is_transformer(child)]
    if middle:
        slots["mid_block.motion_modules.0"] = middle[0]
    slots.update(_numbered(unet.output_blocks.children(), "up_blocks", LAYERS_PER_UP_BLOCK))
    return slots


def output_channels(layer: nn.Module) -> int:
    """Channels of the activation that leaves a slot's layer (a ResBlock or a SpatialTransformer)."""
    return layer.out_channels if is_resnet(layer) else layer.in_channels


def norms_across_frames(unet: nn.Module) -> list[nn.Module]:
    """The group norms that a v1-like motion model evaluates over all frames of a clip at once.

    These are both norms of every ResBlock and the output norm, and no other: the norms of the spatial transformers
    and of the motion modules stay per frame (official ``use_inflated_groupnorm: false``).
    """
    norms = [norm for block in unet.modules() if is_resnet(block) for norm in (block.in_layers[0], block.out_layers[0])]
    return [*norms, unet.out[0]]
