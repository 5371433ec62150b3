"""Reading model files: names, shapes and tensors out of safetensors and of PyTorch pickles, running none of their code.

What a file is gets decided by its first bytes, not by its extension: both are often wrong about each other.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import pickle
import re
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_animatediff.errors import ModelFileError

EXTENSIONS = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")

_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_MAX_HEADER = 100_000_000  # the limit of the format's own reader


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a stored tensor; dtype None for one that this torch does not know."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None


@dataclass(frozen=True)
class Contents:
    """The tensors of a file by name, and the other names in it; nested dictionaries are joined with dots."""

    path: Path
    tensors: dict[str, TensorInfo]
    names: frozenset[str]
    _offsets: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)
    _pickled: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Copies of the named tensors, on the CPU, in the dtype of the file, independent of the file from then on.

        Raises ModelFileError when the file became shorter meanwhile.
        """
        if self._pickled:
            return {name: self._pickled[name].detach().clone() for name in names}
        result = {}
        with self.path.open("rb") as stream:
            for name in sorted(names, key=self._offsets.__getitem__):
                start, end = self._offsets[name]
                data = bytearray(end - start)
                stream.seek(start)
                if stream.readinto(data) != len(data):
                    raise ModelFileError(f"{self.path.name} changed while it was read. Try again when it is complete.")
                info = self.tensors[name]
                result[name] = torch.frombuffer(data, dtype=info.dtype).reshape(info.shape)
        return result


def read_contents(path: Path) -> Contents:
    """What ``path`` holds, the tensors themselves unread where the format allows.

    Raises ModelFileError with a sentence about what the file is when it holds no readable tensors.
    """
    name = path.name
    try:
        if not path.exists():
            raise ModelFileError(_missing(path))
        if path.is_dir():
            raise ModelFileError(f"{name} is a folder. Choose a motion module file ({', '.join(EXTENSIONS)}).")
        if not path.is_file():
            raise ModelFileError(f"{name} is a device or a pipe, not a file. Choose a motion module file.")
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError as error:
        raise ModelFileError(f"{name} cannot be read: {error.strerror}. Check its permissions.") from error
    if size == 0:
        raise ModelFileError(f"{name} is empty. Download it again.")
    if not any(head):
        raise ModelFileError(f"{name} starts with zeros only: its download did not finish. Download it again.")
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(path)
    if head[8:9] == b"{" and (head[:1] != b"\x80" or not any(head[4:8])):  # \x80 begins a pickle, or a length of 128
        return _read_safetensors(path, size)
    if head.startswith(b"\x80"):
        return _read_pickle(path, mmap=False)
    raise ModelFileError(_not_a_model(name, head))


def _missing(path: Path) -> str:
    sentence = f"There is no file {path.name} in {path.parent}."
    if path.parent.is_dir():
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix.lower() in EXTENSIONS]
        near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
        if near:
            return f"{sentence} Did you mean {' or '.join(near)}?"
    return f"{sentence} Download a motion module into that folder and refresh the list."


def _not_a_model(name: str, head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"{name} is a web page, not a model: the link leads to a page. Download the file behind it."
    if text.startswith(b"version https://git-lfs"):
        return f"{name} is a git-lfs pointer, not the model itself. Run 'git lfs pull' or download the file."
    if text.startswith(b"gguf"):
        return f"{name} is a GGUF model, a quantised format that holds no motion module. Choose a .safetensors file."
    if text.startswith((b"{", b"[")):
        return f"{name} is JSON text, not a model. Choose the model file that lies beside it."
    for magic, what in _MAGICS:
        if head.startswith(magic):
            return f"{name} is {what}, not a model. Choose a motion module file ({', '.join(EXTENSIONS)})."
    printable = sum(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head)
    if printable > 0.95 * len(head):
        return f"{name} is a text file, not a model. Download the model again."
    return f"{name} is neither a safetensors file nor a PyTorch file. Download it again or convert it to .safetensors."


_MAGICS = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a WebP picture or a sound"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x08\x00\x12", "an ONNX model"),
)


def _read_safetensors(path: Path, size: int) -> Contents:
    """Header of the format: 8 bytes little-endian length, then JSON of {name: {dtype, shape, data_offsets}}."""
    damaged = f"{path.name} is a damaged safetensors file ({{}}). Download it again."
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if 8 + length > size and length <= _MAX_HEADER:
            raise ModelFileError(
                f"{path.name} is a truncated safetensors file: it ends inside its header. Download it again."
            )
        if length > _MAX_HEADER:
            raise ModelFileError(damaged.format(f"its header claims {length} bytes"))
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError) as error:
            raise ModelFileError(damaged.format("its header is not JSON")) from error
    if not isinstance(header, dict):
        raise ModelFileError(damaged.format("its header is not a table"))
    header.pop("__metadata__", None)
    tensors, offsets, end_of_data = {}, {}, 0
    for name, entry in header.items():
        try:
            dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            integers = all(type(number) is int and number >= 0 for number in (*shape, start, end))
        except (TypeError, KeyError, ValueError) as error:
            raise ModelFileError(damaged.format(f"the entry of {name} is incomplete")) from error
        known = _SAFETENSORS_DTYPES.get(dtype) if isinstance(dtype, str) else None
        if not integers or end < start or (known and end - start != math.prod(shape) * known.itemsize):
            raise ModelFileError(damaged.format(f"shape and offsets of {name} disagree"))
        tensors[name] = TensorInfo(shape, known)
        offsets[name] = (8 + length + start, 8 + length + end)
        end_of_data = max(end_of_data, 8 + length + end)
    if end_of_data > size:
        raise ModelFileError(
            f"{path.name} is a truncated safetensors file: {size} of its {end_of_data} bytes are there. "
            "Download it again."
        )
    return Contents(path, tensors, frozenset(tensors), _offsets=offsets)


def _read_zip(path: Path) -> Contents:
    if not zipfile.is_zipfile(path):
        raise ModelFileError(f"{path.name} is a truncated PyTorch file: its end is missing. Download it again.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelFileError(f"{path.name} is a damaged PyTorch file ({error}). Download it again.") from error
    if any(member.endswith("/code/") or "/code/__torch__" in member for member in members):
        raise ModelFileError(
            f"{path.name} is a TorchScript program, not a file of weights. Choose a motion module file."
        )
    if not any(member.endswith("data.pkl") for member in members):
        raise ModelFileError(f"{path.name} is a zip archive, not a model. Unpack it and choose the model inside.")
    return _read_pickle(path, mmap=True)


def _read_pickle(path: Path, *, mmap: bool) -> Contents:
    """A file of ``torch.save``, by torch's weights-only reader: it builds tensors and containers only."""
    if tarfile.is_tarfile(path):  # torch before 2.6 could be led to run code by this oldest form
        raise ModelFileError(f"{path.name} is in the tar form of PyTorch 0.1. Convert it to .safetensors.")
    try:
        # Not torch.load: hosts replace that name by loaders of their own. A stream where the extension would mislead.
        load = functools.partial(torch.serialization.load, map_location="cpu", weights_only=True)
        if mmap and path.suffix.lower() != ".safetensors":
            data = load(str(path), mmap=True)
        else:
            with path.open("rb") as stream:
                data = load(stream)
    except pickle.UnpicklingError as error:
        raise ModelFileError(_refused_pickle(path.name, str(error))) from error
    except MemoryError as error:
        raise ModelFileError(f"{path.name} does not fit into memory.") from error
    except Exception as error:  # a reader fed with damage may raise anything
        raise ModelFileError(f"{path.name} is a truncated or damaged PyTorch file. Download it again.") from error
    leaves = dict(_leaves(data))
    tensors = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, Tensor)}
    info = {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    return Contents(path, info, frozenset(leaves), _pickled=tensors)


def _leaves(data: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(data, Mapping) and depth < 8:
        for key, value in data.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    else:
        yield prefix, data


def _refused_pickle(name: str, error: str) -> str:
    match = re.search(r"(?:GLOBAL|class|global|function) ([\w.]+\.[\w.]+)", error)
    if match is None:
        return f"{name} is a damaged PyTorch file, or one that holds more than tensors. Download it as .safetensors."
    return (
        f"{name} is a pickle that calls {match[1]} when it is loaded, and was not loaded: such a file can run any "
        "program. Get the model as .safetensors from a source you trust."
    )
