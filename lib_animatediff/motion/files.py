"""Motion module files: what they are, which family they belong to, and loading them."""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lib_animatediff.errors import ModelFileError
from lib_animatediff.motion.containers import EXTENSIONS, Contents, read_contents
from lib_animatediff.motion.families import Family, family_of_layout
from lib_animatediff.motion.kinds import recognise
from lib_animatediff.motion.layout import Names, defect, down_channels, marked_family, motion_names, stored_positions
from lib_animatediff.motion.module import TemporalTransformer

MOTION_MODULE = "motion module"
UNREADABLE = "unreadable"
UNKNOWN = "unknown"


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
        self._on_release: list[Callable[[MotionModel], None]] = []
        self.eval()

    def on_release(self, callback: Callable[[MotionModel], None]) -> None:
        """Have ``callback`` called once, with this model, when it is next released: for what else keeps hold of it."""
        self._on_release.append(callback)

    def release(self) -> None:
        """Have everybody but our own cache let go of the model, so that its memory is ours to move or to free."""
        callbacks, self._on_release = self._on_release, []
        for callback in callbacks:
            callback(self)

    @property
    def pe_length(self) -> int:
        """The longest window, in frames, that every module can see."""
        return min(module.max_frames for module in self.slots.values())

    @property
    def channels(self) -> tuple[int, ...]:
        """Widths of the down blocks from the top."""
        return down_channels({slot: module.channels for slot, module in self.slots.items()})

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, computed at the first use and remembered while size and time of change stay the same."""
        stat = self.path.stat()
        return _sha256_unchanged(self.path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256_unchanged(path: Path, _size: int, _mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
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

    What is in a file decides, not its name; only PyTorch files older than its zip format (1.6) are listed unread, as
    they would have to be loaded whole. Motion modules of families that are not served are listed too: choosing one
    gives a clear error.
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
            readable = extension == ".safetensors" or zipfile.is_zipfile(path)
            if not readable or describe_file(path).kind == MOTION_MODULE:
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
    names = motion_names(contents.tensors)
    kind = recognise(contents.names)
    # A UNet saved together with its motion modules, as in training, is a motion module file.
    if kind is not None and (not names or kind.name not in ("unet", "checkpoint")):
        return FileDescription(path, kind.name, f"{name} is {kind.what}, not a motion module. {kind.belongs}."), {}
    if not names:
        first = next(iter(contents.tensors), None)
        holds = f"it holds {len(contents.tensors)} tensors such as {first}" if first else "it holds no tensors"
        sentence = f"{name} is not a motion module: {holds}. Choose a file made for AnimateDiff."
        return FileDescription(path, UNKNOWN, sentence), {}

    family = marked_family(contents.tensors)
    levels = len({slot.split(".")[1] for slot in names if slot.startswith("down_blocks.")})
    positions = stored_positions(names, contents.tensors)
    if family is None:
        family = family_of_layout(levels, any(slot.startswith("mid_block") for slot in names), positions)
    widths = {
        slot: contents.tensors[keys["norm.weight"]].shape[0]
        for slot, keys in names.items()
        if "norm.weight" in keys and contents.tensors[keys["norm.weight"]].shape
    }
    shape = {"positions": positions or (family and family.computed_positions), "channels": down_channels(widths)}
    if family is not None and not family.served:
        sentence = f"{name} is a motion module of {family.label}, which this extension does not run yet. "
        sentence += "Choose one of AnimateDiff v1, v2 or v3."
        return FileDescription(path, MOTION_MODULE, sentence, family, **shape), {}
    fault = defect(names, contents.tensors, family)
    if fault is not None:
        sentence = f"{name} is a damaged or unknown motion module: {fault}. Download it again or choose another."
        return FileDescription(path, MOTION_MODULE, sentence, family, **shape), {}
    sentence = f"{name} is a motion module of {family.label} for {family.base}, up to {shape['positions']} frames."
    return FileDescription(path, MOTION_MODULE, sentence, family, usable=True, **shape), names


def _computable(tensor: torch.Tensor) -> torch.Tensor:
    """8-bit floats can be stored but not computed with or joined; they fit into float16 (e5m2 exactly, e4m3 too)."""
    return tensor.half() if tensor.element_size() == 1 else tensor
