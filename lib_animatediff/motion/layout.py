"""The tensors of a motion module file: their names in each layout, their shapes, and what they say about the family."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from lib_animatediff.motion.containers import TensorInfo
from lib_animatediff.motion.families import FAMILIES, Family
from lib_animatediff.motion.module import HEADS, NORM_GROUPS

_MODULE_KEY = re.compile(
    r"^(?:(?:state_dict|module|unet|model|diffusion_model|motion_adapter)\.)*"
    r"((?:down_blocks\.\d+|up_blocks\.\d+|mid_block)\.(?:motion_modules|temporal_attentions)\.\d+)\.(.+)$"
)
_ROOT_KEY = re.compile(r"^(?:(?:state_dict|module|unet|model|diffusion_model)\.)*(.+)$")

# diffusers' names of the same tensors (scripts/convert_animatediff_motion_module_to_diffusers.py, read backwards)
_FROM_DIFFUSERS = (
    ("transformer_blocks.0.norm1.", "transformer_blocks.0.norms.0."),
    ("transformer_blocks.0.norm2.", "transformer_blocks.0.norms.1."),
    ("transformer_blocks.0.norm3.", "transformer_blocks.0.ff_norm."),
    ("transformer_blocks.0.attn1.", "transformer_blocks.0.attention_blocks.0."),
    ("transformer_blocks.0.attn2.", "transformer_blocks.0.attention_blocks.1."),
)
_PE = "transformer_blocks.0.attention_blocks.{}.pos_encoder.pe"

# Tensors beside or inside the motion modules that only the files of one family hold; FancyVideo's also match PIA's.
_MARKS = (
    (re.compile(r"^(fps_embedding|motion_embedding)\."), "fancyvideo"),
    (re.compile(r"^img_encoder\."), "lcm-i2v"),
    (re.compile(r"\.qkv_merge\."), "cameractrl"),
    (re.compile(r"temporal_attentions\.|pos_encoder\.positional_encoding$"), "hotshot-xl"),
)

Names = dict[str, dict[str, str]]  # slot -> official key below temporal_transformer -> name in the file


def motion_names(tensors: Mapping[str, TensorInfo]) -> Names:
    """Where each module's tensors are, under the official keys whichever layout the file has."""
    names: Names = {}
    for name in tensors:
        match = _MODULE_KEY.match(name)
        if match is None:
            continue
        slot, key = match.groups()
        keys = names.setdefault(slot.replace("temporal_attentions", "motion_modules"), {})
        if key.startswith("temporal_transformer."):
            keys.setdefault(key.removeprefix("temporal_transformer."), name)
        elif key == "transformer_blocks.0.pos_embed.pe":  # diffusers keeps one table for both attentions
            keys[_PE.format(0)] = keys[_PE.format(1)] = name
        else:
            for theirs, official in _FROM_DIFFUSERS:
                key = key.replace(theirs, official)
            keys.setdefault(key, name)
    return names


def marked_family(tensors: Mapping[str, TensorInfo]) -> Family | None:
    """The family that a tensor found in no other family's files tells, or None."""
    roots = {_ROOT_KEY.match(name)[1]: info for name, info in tensors.items() if name}
    for pattern, family in _MARKS:
        if any(pattern.search(root) for root in roots):
            return FAMILIES[family]
    conv_in = roots.get("conv_in.weight")
    if conv_in is not None and len(conv_in.shape) == 4 and conv_in.shape[1] == 9:
        return FAMILIES["pia"]
    return None


def stored_positions(names: Names, tensors: Mapping[str, TensorInfo]) -> int | None:
    """Length of the shortest stored position table, None when the file has none."""
    keys = (keys.get(_PE.format(i)) for keys in names.values() for i in (0, 1))
    shapes = [tensors[key].shape for key in keys if key is not None]
    return min((shape[1] for shape in shapes if len(shape) == 3), default=None)


def down_channels(widths: Mapping[str, int]) -> tuple[int, ...]:
    """Of the widths by slot, those of the down blocks from the top."""
    return tuple(width for slot, width in sorted(widths.items()) if re.fullmatch(r"down_blocks\.\d\.\w+\.0", slot))


def _expected_slots(family: Family) -> list[str]:
    levels = 4 if family.base == "SD1.5" else 3
    slots = [f"down_blocks.{i}.motion_modules.{j}" for i in range(levels) for j in range(2)]
    slots += ["mid_block.motion_modules.0"] * family.has_mid_block
    return slots + [f"up_blocks.{i}.motion_modules.{j}" for i in range(levels) for j in range(3)]


def _expected_shapes(channels: int, positions: int | None) -> dict[str, tuple[int, ...]]:
    """Official key below temporal_transformer -> shape."""
    c, block = channels, "transformer_blocks.0."
    shapes = {"norm.weight": (c,), "norm.bias": (c,)}
    for name in ("proj_in", "proj_out"):
        shapes |= {f"{name}.weight": (c, c), f"{name}.bias": (c,)}
    for i in (0, 1):
        attention = f"{block}attention_blocks.{i}."
        shapes |= {f"{attention}to_{name}.weight": (c, c) for name in "qkv"}
        shapes |= {f"{attention}to_out.0.weight": (c, c), f"{attention}to_out.0.bias": (c,)}
        shapes |= {f"{block}norms.{i}.weight": (c,), f"{block}norms.{i}.bias": (c,)}
        if positions is not None:
            shapes[_PE.format(i)] = (1, positions, c)
    shapes |= {f"{block}ff.net.0.proj.weight": (8 * c, c), f"{block}ff.net.0.proj.bias": (8 * c,)}
    shapes |= {f"{block}ff.net.2.weight": (c, 4 * c), f"{block}ff.net.2.bias": (c,)}
    return shapes | {f"{block}ff_norm.weight": (c,), f"{block}ff_norm.bias": (c,)}


def defect(names: Names, tensors: Mapping[str, TensorInfo], family: Family | None) -> str | None:
    """What keeps these tensors from being the modules of ``family``, or None."""
    if family is None:
        table = "a" if stored_positions(names, tensors) else "no"
        return f"{len(names)} modules with {table} position table are the layout of no known family"
    expected_slots = _expected_slots(family)
    extra = sorted(set(names) - set(expected_slots))
    if extra:
        return f"it has a module {extra[0]} that {family.label} has not"
    positions = stored_positions(names, tensors)
    if positions == 0:
        return "its position table is empty"
    for slot in expected_slots:
        keys = names.get(slot)
        if keys is None:
            return f"the module {slot} is missing"
        where = f"{slot}.temporal_transformer."
        if "norm.weight" not in keys:
            return f"the tensor {where}norm.weight is missing"
        shape = tensors[keys["norm.weight"]].shape
        if len(shape) != 1 or shape[0] == 0 or shape[0] % math.lcm(NORM_GROUPS, HEADS):
            return f"the tensor {where}norm.weight has the shape {list(shape)}"
        expected = _expected_shapes(shape[0], positions)
        for key, wanted in expected.items():
            if key not in keys:
                return f"the tensor {where}{key} is missing"
            info = tensors[keys[key]]
            if info.shape != wanted:
                return f"the tensor {where}{key} has the shape {list(info.shape)}, not {list(wanted)}"
            if info.dtype is None or not info.dtype.is_floating_point:
                return f"the tensor {where}{key} is stored in a quantised or unknown number format"
        unknown = sorted(set(keys) - set(expected))
        if unknown:
            return f"it has a tensor {where}{unknown[0]} that a motion module has not"
    return None
