"""Stand-in models of random weights: everything runs with them, nothing they paint means anything.

``ensure(data_dir)`` writes, once and always with the same numbers, two SD1.x checkpoints in A1111's key layout and
three motion modules (v1, v2, v3) of matching widths in the official layout, about 90 MB together. A real SD1.5
checkpoint put beside them works too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Numbers here decide the files' contents: change VERSION with them.
VERSION = "1"
UNET_WIDTH = 32
WIDTHS = (32, 64, 128, 128)
AUTOENCODER_WIDTH = 32
TEXT_WIDTH, TEXT_LAYERS = 128, 2
VOCABULARY, POSITIONS = 49408, 77
MOTION_POSITIONS = {"v1": 24, "v2": 32, "v3": 32}


@dataclass(frozen=True)
class Paths:
    """Where the stand-ins are."""

    checkpoint: Path
    second_checkpoint: Path
    motion: dict[str, Path] = field(default_factory=dict)


def ensure(data_dir: Path | str, progress: Callable[[str], None] = print) -> Paths:
    """Make the stand-ins that ``data_dir`` lacks; ``progress`` is told of each file that is made."""
    models = Path(data_dir) / "models"
    checkpoints, motion = models / "Stable-diffusion", models / "animatediff"
    paths = Paths(
        checkpoint=checkpoints / "standin.safetensors",
        second_checkpoint=checkpoints / "standin-b.safetensors",
        motion={kind: motion / f"mm_standin_{kind}.safetensors" for kind in MOTION_POSITIONS},
    )
    for seed, path in enumerate((paths.checkpoint, paths.second_checkpoint)):
        _write_once(path, lambda seed=seed: checkpoint_state(seed), progress)
    for seed, (kind, path) in enumerate(paths.motion.items()):
        _write_once(path, lambda kind=kind, seed=seed: motion_state(kind, seed), progress)
    return paths


def _write_once(path: Path, make: Callable[[], dict], progress: Callable[[str], None]) -> None:
    """Write a file of half-precision tensors, whole or not at all, unless it is there in this version."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    if path.exists():
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("standin") == VERSION:
                return
    progress(f"Making the stand-in {path.name} ...")
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() for name, value in make().items()}
    unfinished = path.with_suffix(".part")
    save_file(state, unfinished, metadata={"standin": VERSION})
    unfinished.replace(path)


class _Draw:
    """Random tensors from one seed; a name's shape and scale decide nothing but its own numbers."""

    def __init__(self, seed: int):
        import torch

        self.torch = torch
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, scale: float):
        return self.torch.randn(shape, generator=self.generator) * scale

    def matrix(self, rows: int, *columns: int, gain: float = 1.0):
        """A weight that keeps the size of what it multiplies, times ``gain``."""
        return self.normal(rows, *columns, scale=gain / math.sqrt(math.prod(columns)))

    def norm(self, width: int) -> tuple:
        """Weight and bias of a normalisation: near 1, near 0."""
        return 1 + self.normal(width, scale=0.02), self.normal(width, scale=0.02)


def checkpoint_state(seed: int) -> dict:
    """The tensors of an SD1.x checkpoint, 32 channels wide where SD1.5 has 320."""
    draw, state = _Draw(seed), {}
    for prefix, layout in (
        ("model.diffusion_model.", _unet_layout()),
        ("first_stage_model.", _autoencoder_layout()),
        ("cond_stage_model.transformer.text_model.", _text_layout()),
    ):
        for name, kind, shape in layout:
            key = prefix + name
            if kind == "norm":
                state[f"{key}.weight"], state[f"{key}.bias"] = draw.norm(shape[0])
            elif kind == "table":
                state[f"{key}.weight"] = draw.normal(*shape, scale=0.02)
            else:
                gain = 0.5 if kind == "out" else 1.0
                state[f"{key}.weight"] = draw.matrix(*shape, gain=gain)
                if kind != "matrix":
                    state[f"{key}.bias"] = draw.normal(shape[0], scale=0.02)
    return state


# A layout names the layers of a network: (name, kind, shape of the weight). Kinds: "norm", "table" (an embedding),
# "matrix" (no bias), "layer" (with bias), "out" (with bias, half gain: the end of a residual branch).
Layer = tuple[str, str, tuple[int, ...]]


def _unet_layout() -> Iterator[Layer]:
    time = 4 * UNET_WIDTH
    yield "time_embed.0", "layer", (time, UNET_WIDTH)
    yield "time_embed.2", "layer", (time, time)
    yield "input_blocks.0.0", "layer", (UNET_WIDTH, 4, 3, 3)
    skips, width, block = [UNET_WIDTH], UNET_WIDTH, 0
    for level, wide in enumerate(WIDTHS):
        for _ in range(2):
            block += 1
            yield from _resnet(f"input_blocks.{block}.0.", width, wide, time)
            width = wide
            if level < 3:
                yield from _transformer(f"input_blocks.{block}.1.", width)
            skips.append(width)
        if level < 3:
            block += 1
            yield f"input_blocks.{block}.0.op", "layer", (width, width, 3, 3)
            skips.append(width)
    yield from _resnet("middle_block.0.", width, width, time)
    yield from _transformer("middle_block.1.", width)
    yield from _resnet("middle_block.2.", width, width, time)
    block = -1
    for level, wide in reversed(list(enumerate(WIDTHS))):
        for i in range(3):
            block += 1
            yield from _resnet(f"output_blocks.{block}.0.", width + skips.pop(), wide, time)
            width = wide
            if level < 3:
                yield from _transformer(f"output_blocks.{block}.1.", width)
            if level and i == 2:
                place = 2 if level < 3 else 1
                yield f"output_blocks.{block}.{place}.conv", "layer", (width, width, 3, 3)
    yield "out.0", "norm", (UNET_WIDTH,)
    yield "out.2", "layer", (4, UNET_WIDTH, 3, 3)


def _resnet(name: str, width: int, out: int, time: int) -> Iterator[Layer]:
    yield name + "in_layers.0", "norm", (width,)
    yield name + "in_layers.2", "layer", (out, width, 3, 3)
    yield name + "emb_layers.1", "layer", (out, time)
    yield name + "out_layers.0", "norm", (out,)
    yield name + "out_layers.3", "out", (out, out, 3, 3)
    if width != out:
        yield name + "skip_connection", "layer", (out, width, 1, 1)


def _transformer(name: str, width: int) -> Iterator[Layer]:
    yield name + "norm", "norm", (width,)
    yield name + "proj_in", "layer", (width, width, 1, 1)
    block = name + "transformer_blocks.0."
    for attention, context in (("attn1", width), ("attn2", TEXT_WIDTH)):
        yield f"{block}{attention}.to_q", "matrix", (width, width)
        yield f"{block}{attention}.to_k", "matrix", (width, context)
        yield f"{block}{attention}.to_v", "matrix", (width, context)
        yield f"{block}{attention}.to_out.0", "out", (width, width)
    yield block + "ff.net.0.proj", "layer", (8 * width, width)
    yield block + "ff.net.2", "out", (width, 4 * width)
    for i in (1, 2, 3):
        yield f"{block}norm{i}", "norm", (width,)
    yield name + "proj_out", "out", (width, width, 1, 1)


def _autoencoder_layout() -> Iterator[Layer]:
    widths = [AUTOENCODER_WIDTH * m for m in (1, 2, 4, 4)]
    yield "encoder.conv_in", "layer", (widths[0], 3, 3, 3)
    width = widths[0]
    for level, wide in enumerate(widths):
        for i in range(2):
            yield from _autoencoder_resnet(f"encoder.down.{level}.block.{i}.", width, wide)
            width = wide
        if level < 3:
            yield f"encoder.down.{level}.downsample.conv", "layer", (width, width, 3, 3)
    yield from _autoencoder_end("encoder.", width, 8)
    yield "decoder.conv_in", "layer", (width, 4, 3, 3)
    for level, wide in reversed(list(enumerate(widths))):
        for i in range(3):
            yield from _autoencoder_resnet(f"decoder.up.{level}.block.{i}.", width, wide)
            width = wide
        if level:
            yield f"decoder.up.{level}.upsample.conv", "layer", (width, width, 3, 3)
    yield from _autoencoder_end("decoder.", widths[-1], 3, last=width)
    yield "quant_conv", "layer", (8, 8, 1, 1)
    yield "post_quant_conv", "layer", (4, 4, 1, 1)


def _autoencoder_resnet(name: str, width: int, out: int) -> Iterator[Layer]:
    yield name + "norm1", "norm", (width,)
    yield name + "conv1", "layer", (out, width, 3, 3)
    yield name + "norm2", "norm", (out,)
    yield name + "conv2", "out", (out, out, 3, 3)
    if width != out:
        yield name + "nin_shortcut", "layer", (out, width, 1, 1)


def _autoencoder_end(name: str, middle: int, out: int, last: int | None = None) -> Iterator[Layer]:
    last = middle if last is None else last
    for block in ("block_1", "block_2"):
        yield from _autoencoder_resnet(f"{name}mid.{block}.", middle, middle)
    yield f"{name}mid.attn_1.norm", "norm", (middle,)
    for part in ("q", "k", "v"):
        yield f"{name}mid.attn_1.{part}", "layer", (middle, middle, 1, 1)
    yield f"{name}mid.attn_1.proj_out", "out", (middle, middle, 1, 1)
    yield name + "norm_out", "norm", (last,)
    yield name + "conv_out", "layer", (out, last, 3, 3)


def _text_layout() -> Iterator[Layer]:
    width = TEXT_WIDTH
    yield "embeddings.token_embedding", "table", (VOCABULARY, width)
    yield "embeddings.position_embedding", "table", (POSITIONS, width)
    for i in range(TEXT_LAYERS):
        layer = f"encoder.layers.{i}."
        for part in ("q_proj", "k_proj", "v_proj"):
            yield f"{layer}self_attn.{part}", "layer", (width, width)
        yield layer + "self_attn.out_proj", "out", (width, width)
        yield layer + "layer_norm1", "norm", (width,)
        yield layer + "layer_norm2", "norm", (width,)
        yield layer + "mlp.fc1", "layer", (4 * width, width)
        yield layer + "mlp.fc2", "out", (width, 4 * width)
    yield "final_layer_norm", "norm", (width,)


def motion_state(kind: str, seed: int) -> dict:
    """The tensors of a motion module of family ``kind`` ("v1", "v2" or "v3"); v2 has a middle block."""
    draw, state = _Draw(seed), {}
    length = MOTION_POSITIONS[kind]
    places = [(f"down_blocks.{i}.motion_modules.{j}", w) for i, w in enumerate(WIDTHS) for j in (0, 1)]
    places += [(f"up_blocks.{i}.motion_modules.{j}", w) for i, w in enumerate(reversed(WIDTHS)) for j in (0, 1, 2)]
    if kind == "v2":
        places.append(("mid_block.motion_modules.0", WIDTHS[-1]))
    for place, width in places:
        name = place + ".temporal_transformer."
        block = name + "transformer_blocks.0."
        norms = [name + "norm", block + "norms.0", block + "norms.1", block + "ff_norm"]
        for norm in norms:
            state[f"{norm}.weight"], state[f"{norm}.bias"] = draw.norm(width)
        layers = [
            (name + "proj_in", width, width, 1.0),
            (name + "proj_out", width, width, 0.3),
            (block + "ff.net.0.proj", 8 * width, width, 1.0),
            (block + "ff.net.2", width, 4 * width, 0.5),
        ]
        for i in (0, 1):
            attention = f"{block}attention_blocks.{i}."
            for part in ("to_q", "to_k", "to_v"):
                state[f"{attention}{part}.weight"] = draw.matrix(width, width)
            layers.append((attention + "to_out.0", width, width, 0.5))
            state[attention + "pos_encoder.pe"] = position_table(width, length)
        for layer, rows, columns, gain in layers:
            state[f"{layer}.weight"] = draw.matrix(rows, columns, gain=gain)
            state[f"{layer}.bias"] = draw.normal(rows, scale=0.02)
    return state


def position_table(width: int, length: int):
    """Sinusoidal positions (1, length, width), base 10000 (Vaswani et al. 2017, section 3.5)."""
    import torch

    position = torch.arange(length)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = torch.zeros(1, length, width)
    table[0, :, 0::2], table[0, :, 1::2] = torch.sin(position * rate), torch.cos(position * rate)
    return table
