"""Files that are no motion module, made of bytes alone (no torch): name in the folder -> bytes."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

HARM = "live-test-harm-was-done"


def safetensors(shapes: Mapping[str, tuple[int, ...]], dtype: str = "F32", metadata: dict | None = None) -> bytes:
    """A well-formed safetensors file of zeros."""
    header: dict = {"__metadata__": metadata} if metadata else {}
    width, start = {"F32": 4, "I64": 8, "F16": 2}[dtype], 0
    for name, shape in shapes.items():
        size = width
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(start)


def split(data: bytes) -> tuple[dict, bytes]:
    """Header and tensors of a safetensors file."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: dict, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def renamed(data: bytes, rename) -> bytes:
    """A safetensors file with other names for its tensors; a tensor whose new name is None is left out."""
    header, tensors = split(data)
    names = {name: name if name == "__metadata__" else rename(name) for name in header}
    return joined({new: header[name] for name, new in names.items() if new is not None}, tensors)


class _Harm:
    def __reduce__(self):
        return (exec, (f"open({HARM!r}, 'w').close()",))


def _zip(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _torch_zip(content: object) -> bytes:
    return _zip({"archive/data.pkl": pickle.dumps(content, 2), "archive/version": b"3\n"})


def _changed(data: bytes, name_part: str, change) -> bytes:
    header, tensors = split(data)
    name = next(name for name in header if name_part in name)
    change(header[name])
    return joined(header, tensors)


def malformed_files(good: bytes) -> dict[str, bytes | Callable[[], bytes]]:
    """Files that have to be refused, made of a good motion module and of nothing; none is harmful unless executed.

    What is as large as a motion module is a function, so that they need not all be in memory at once.
    """
    slot = "up_blocks.1.motion_modules.0"
    attention = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0"
    return {
        "empty.safetensors": b"",
        "text.safetensors": b"hello, this is a text and no model\n" * 20,
        "page.safetensors": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "pointer.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1672222\n",
        "picture.safetensors": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "cut in the header.safetensors": good[:1000],
        "cut in the tensors.safetensors": lambda: good[: len(good) // 2],
        "one byte short.safetensors": lambda: good[:-1],
        "header too long.safetensors": lambda: struct.pack("<Q", 2**60) + good[8:],
        "header no json.safetensors": struct.pack("<Q", 40) + b"{" * 40 + bytes(100),
        "no tensors.safetensors": safetensors({}),
        "unknown tensors.safetensors": safetensors({"weight": (4, 4), "bias": (4,)}),
        "lora.safetensors": safetensors(
            {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (4, 8, 1, 1), "lora_te_x.alpha": (1,)}
        ),
        "motion lora.safetensors": safetensors(
            {
                f"{attention}.processor.to_q_lora.down.weight": (4, 8),
                f"{attention}.processor.to_q_lora.up.weight": (8, 4),
            }
        ),
        "controlnet.safetensors": safetensors(
            {"control_model.input_hint_block.0.weight": (16, 3, 3, 3), "control_model.zero_convs.0.0.weight": (8, 8)}
        ),
        "checkpoint.safetensors": safetensors(
            {
                "model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3),
                "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3),
                "cond_stage_model.transformer.text_model.final_layer_norm.weight": (8,),
            }
        ),
        "vae.safetensors": safetensors(
            {"decoder.conv_in.weight": (8, 4, 3, 3), "encoder.conv_in.weight": (8, 3, 3, 3)}
        ),
        "embedding.safetensors": safetensors({"emb_params": (2, 768)}),
        "upscaler.safetensors": safetensors({"conv_first.weight": (8, 3, 3, 3), "body.0.rdb1.conv1.weight": (8, 8)}),
        "one slot missing.safetensors": lambda: renamed(good, lambda name: None if slot in name else name),
        "one tensor missing.safetensors": lambda: renamed(
            good, lambda name: None if slot in name and name.endswith("proj_in.weight") else name
        ),
        "one tensor too many.safetensors": lambda: renamed(
            good, lambda name: name.replace("proj_in.bias", "proj_in.offset") if slot in name else name
        ),
        "turned shape.safetensors": lambda: _changed(good, "ff.net.2.weight", lambda entry: entry["shape"].reverse()),
        "whole numbers.safetensors": lambda: _changed(good, "proj_out.weight", lambda entry: entry.update(dtype="I32")),
        "unknown type.safetensors": lambda: _changed(good, "proj_out.weight", lambda entry: entry.update(dtype="X32")),
        "offsets outside.safetensors": lambda: _changed(
            good, "proj_out.weight", lambda entry: entry.update(data_offsets=[len(good), 2 * len(good)])
        ),
        "code.ckpt": pickle.dumps({"state_dict": _Harm()}, 2),
        "code in a zip.ckpt": _torch_zip({"state_dict": _Harm()}),
        "code beside tensors.pth": _torch_zip({"state_dict": {}, "callback": _Harm()}),
        "no model in a zip.ckpt": _zip({"readme.txt": b"hello"}),
        "numbers.pth": _torch_zip({"epoch": 3, "loss": 0.5}),
        "list.ckpt": _torch_zip([1, 2, 3]),
        "noise.ckpt": bytes(range(256)) * 16,
        "empty.pth": b"",
    }


def write_malformed_files(good: bytes, folder: Path) -> list[str]:
    """Writes them into ``folder``, one after the other; their names."""
    made = malformed_files(good)
    for name, content in made.items():
        (folder / name).write_bytes(content() if callable(content) else content)
    return list(made)
