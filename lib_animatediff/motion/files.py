"""Motion module files: what they are, which family they belong to, and loading them."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lib_animatediff.errors import ModelFileError
from lib_animatediff.motion.containers import EXTENSIONS, Contents, TensorInfo, read_contents
from lib_animatediff.motion.families import FAMILIES, Family, family_of_layout
from lib_animatediff.motion.kinds import recognise
from lib_animatediff.motion.module import HEADS, NORM_GROUPS, TemporalTransformer

MOTION_MODULE = "motion module"
UNREADABLE = "unreadable"
UNKNOWN = "unknown"

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


@dataclass(frozen=True)
class FileDescription:
    """What a file is, in one sentence for the user.

    kind: "motion module", "unreadable", "unknown", or the name of one of kinds.KINDS ("lora", "checkpoint", ...).
    family: of a motion module, where its layout tells it. usable: whether load_motion_model would load it.
    positions: length of its position table. channels: its widths from the top level down.
    """

    path: Path
    kind: str
    sentence: str
    family: Family | None = None
    usable: bool = False
    positions: int | None = None
    channels: tuple[int, ...] = ()


class MotionModel(nn.Module):
    """The temporal transformers of one file, on the CPU in the file's dtype until moved.

    ``slots`` maps the official slot name ("down_blocks.0.motion_modules.1") to its module.
    """

    def __init__(self, modules: Mapping[str, TemporalTransformer], family: Family, path: Path):
        super().__init__()
        self.transformers = nn.ModuleList(modules.values())
        self.slots: dict[str, TemporalTransformer] = dict(modules)
        self.family = family
        self.path = path
        self.eval()

    @property
    def pe_length(self) -> int:
        """The longest window, in frames, that every module can see."""
        return min(module.max_frames for module in self.slots.values())

    @property
    def channels(self) -> tuple[int, ...]:
        """Widths of the down blocks from the top."""
        return _channels({slot: module.channels for slot, module in self.slots.items()})

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, computed at the first use."""
        digest = hashlib.sha256()
        with self.path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


def describe_file(path: str | Path) -> FileDescription:
    """What ``path`` is, without loading its tensors where the format allows; never raises for a bad file.

    The answer is remembered for as long as size and time of change stay the same.
    """
    path = Path(path)
    try:
        stat = path.stat()
    except OSError:
        return _describe(path)
    return _describe_unchanged(path, stat.st_size, stat.st_mtime_ns)


def load_motion_model(path: str | Path) -> MotionModel:
    """Load a motion module file of any served family and layout, with every tensor checked, without gradients.

    Raises ModelFileError with the sentence of describe_file when the file is anything else or is damaged.
    """
    path = Path(path)
    contents = read_contents(path)
    description, names = _examine(contents)
    if not description.usable:
        raise ModelFileError(description.sentence)
    family, modules = description.family, {}
    with torch.inference_mode(False):  # inference tensors could not be used by a later run with gradients
        for slot, keys in names.items():
            stored = contents.read(set(keys.values()))
            tensors = {key: _computable(stored[name]) for key, name in keys.items()}
            modules[slot] = TemporalTransformer(tensors, positions=family.computed_positions or 0)
    return MotionModel(modules, family, path)


def list_motion_modules(folder: str | Path) -> list[str]:
    """Names, relative to ``folder`` with forward slashes, of the motion modules in it and below it, sorted.

    Of .safetensors the header decides; files in PyTorch's own formats are listed unread, as reading them is slow.
    Motion modules of families that are not served are listed too: choosing one gives a clear error.
    """
    folder, found, seen = Path(folder), [], set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            path = Path(root, name)
            extension = path.suffix.lower()
            if extension not in EXTENSIONS or name.startswith("."):
                continue
            if extension != ".safetensors" or describe_file(path).kind == MOTION_MODULE:
                found.append(path.relative_to(folder).as_posix())
    return sorted(found, key=lambda name: (name.lower(), name))


@functools.lru_cache(maxsize=1024)
def _describe_unchanged(path: Path, _size: int, _mtime: int) -> FileDescription:
    return _describe(path)


def _describe(path: Path) -> FileDescription:
    try:
        return _examine(read_contents(path))[0]
    except ModelFileError as error:
        return FileDescription(path, UNREADABLE, str(error))


def _examine(contents: Contents) -> tuple[FileDescription, Names]:
    """The description, and for a usable file where each tensor of each module is found in it."""
    path = contents.path
    name = path.name
    names = _motion_names(contents.tensors)
    kind = recognise(contents.names)
    # A UNet saved together with its motion modules, as in training, is a motion module file.
    if kind is not None and (not names or kind.name not in ("unet", "checkpoint")):
        return FileDescription(path, kind.name, f"{name} is {kind.what}, not a motion module. {kind.belongs}."), {}
    if not names:
        first = next(iter(contents.tensors), None)
        holds = f"it holds {len(contents.tensors)} tensors such as {first}" if first else "it holds no tensors"
        sentence = f"{name} is not a motion module: {holds}. Choose a file made for AnimateDiff."
        return FileDescription(path, UNKNOWN, sentence), {}

    family = _marked_family(contents.tensors)
    levels = len({slot.split(".")[1] for slot in names if slot.startswith("down_blocks.")})
    positions = _positions(names, contents.tensors)
    if family is None:
        family = family_of_layout(levels, any(slot.startswith("mid_block") for slot in names), positions)
    widths = {
        slot: contents.tensors[keys["norm.weight"]].shape[0]
        for slot, keys in names.items()
        if "norm.weight" in keys and contents.tensors[keys["norm.weight"]].shape
    }
    shape = {"positions": positions or (family and family.computed_positions), "channels": _channels(widths)}
    if family is not None and not family.served:
        sentence = f"{name} is a motion module of {family.label}, which this extension does not run yet. "
        sentence += "Choose one of AnimateDiff v1, v2 or v3."
        return FileDescription(path, MOTION_MODULE, sentence, family, **shape), {}
    defect = _defect(names, contents.tensors, family)
    if defect is not None:
        sentence = f"{name} is a damaged or unknown motion module: {defect}. Download it again or choose another."
        return FileDescription(path, MOTION_MODULE, sentence, family, **shape), {}
    sentence = f"{name} is a motion module of {family.label} for {family.base}, up to {shape['positions']} frames."
    return FileDescription(path, MOTION_MODULE, sentence, family, usable=True, **shape), names


def _motion_names(tensors: Mapping[str, TensorInfo]) -> Names:
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


def _marked_family(tensors: Mapping[str, TensorInfo]) -> Family | None:
    roots = {_ROOT_KEY.match(name)[1]: info for name, info in tensors.items() if name}
    for pattern, family in _MARKS:
        if any(pattern.search(root) for root in roots):
            return FAMILIES[family]
    conv_in = roots.get("conv_in.weight")
    if conv_in is not None and len(conv_in.shape) == 4 and conv_in.shape[1] == 9:
        return FAMILIES["pia"]
    return None


def _positions(names: Names, tensors: Mapping[str, TensorInfo]) -> int | None:
    """Length of the shortest stored position table, None when the file has none."""
    keys = (keys.get(_PE.format(i)) for keys in names.values() for i in (0, 1))
    shapes = [tensors[key].shape for key in keys if key is not None]
    return min((shape[1] for shape in shapes if len(shape) == 3), default=None)


def _channels(widths: Mapping[str, int]) -> tuple[int, ...]:
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


def _defect(names: Names, tensors: Mapping[str, TensorInfo], family: Family | None) -> str | None:
    """What keeps these tensors from being the modules of ``family``, or None."""
    if family is None:
        return (
            f"{len(names)} modules, with {'a' if _positions(names, tensors) else 'no'} position table, are the layout "
            "of no known family"
        )
    expected_slots = _expected_slots(family)
    extra = sorted(set(names) - set(expected_slots))
    if extra:
        return f"it has a module {extra[0]} that {family.label} has not"
    positions = _positions(names, tensors)
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


def _computable(tensor: torch.Tensor) -> torch.Tensor:
    """8-bit floats can be stored but not computed with or joined; they fit into float16 (e5m2 exactly, e4m3 too)."""
    return tensor.half() if tensor.element_size() == 1 else tensor
