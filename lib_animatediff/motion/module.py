"""The temporal transformer of a motion module, with the arithmetic of the official code and fewer passes over memory.

Source of the formulas: guoyww/AnimateDiff, ``animatediff/models/motion_module.py`` (Guo et al., arXiv:2307.04725).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib_animatediff.errors import AnimateDiffError

HEADS = 8
NORM_GROUPS = 32
NORM_EPS = 1e-6

# CUDA launches one block per leading row of an attention and fails above 65,535 of them.
MAX_ATTENTION_ROWS = 32768

# Bytes of intermediates alive at once: near the size of the caches on a CPU, a small part of the memory on a GPU.
CHUNK_BYTES = {"cpu": 16 << 20, "other": 256 << 20}
# Positions below which one product per frame costs more than a transposed copy and a single product.
MIN_FRAME_PRODUCT = 64

# Fewer tokens than this and the products wait for their weights.
MIN_CHUNK_TOKENS = 1024

# Frames of the clips that SD1.5's motion modules were trained on; their tables have more rows.
SWEET_SPOT = 16

_CHUNK_WIDTHS = 10  # of a chunk, in units of C per token: feed-forward 8, norm 1, output of the attention 1


def position_table(channels: int, length: int) -> Tensor:
    """Sinusoidal table (length, channels) in float32: sin and cos interleaved, base 10000 (arXiv:1706.03762, 3.5)."""
    return _sinusoids(channels, torch.arange(length))


def _sinusoids(channels: int, places: Tensor) -> Tensor:
    """(places, channels): whole places in float32, as the official code has them; others in their own dtype."""
    rate = torch.exp(torch.arange(0, channels, 2) * (-math.log(10000.0) / channels))
    angles = places.unsqueeze(1) * rate
    table = torch.empty(places.shape[0], channels, dtype=angles.dtype)
    table[:, 0::2], table[:, 1::2] = torch.sin(angles), torch.cos(angles)
    return table


def stretched_positions(tables: Tensor, frames: int, how: str) -> Tensor:
    """``frames`` rows of position ``tables`` (n, rows, C), for contexts longer than a motion module was trained for.

    - ``trained``     the first rows, as the official code takes them
    - ``stretched``   when there are too few: all rows, at even distances from the first to the last
    - ``sweet spot``  when there are more frames than 16: the first 16 rows, likewise

    Between two rows of a sinusoidal table is the sinusoid of the place between; of any other, the straight line.
    """
    rows = tables.shape[1]
    used = min(SWEET_SPOT, rows) if how == "sweet spot" else rows
    if how == "trained" or frames <= used:
        return tables[:, :frames]
    places = torch.linspace(0, used - 1, frames, dtype=torch.float64)
    if torch.allclose(tables, position_table(tables.shape[2], rows).to(tables), atol=1e-3):  # files may hold halves
        return _sinusoids(tables.shape[2], places).to(tables).expand(tables.shape[0], -1, -1)
    lower = places.floor().long().clamp(max=used - 2) if used > 1 else torch.zeros(frames, dtype=torch.long)
    share = (places - lower).to(tables)[:, None]
    upper = (lower + 1).clamp(max=used - 1)
    return tables[:, lower] * (1 - share) + tables[:, upper] * share


class Weights(nn.Module):
    """A weight and maybe a bias, with no forward of its own: hosts replace those of nn.Linear and the norms."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def like(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weight and bias in the dtype and on the device of x; the stored ones when they are there already."""
        bias = None if self.bias is None else self.bias.to(x.device, x.dtype)
        return self.weight.to(x.device, x.dtype), bias


class Scratch:
    """Memory for intermediates that the calls of one run share, one after the other.

    Pages fresh from the system cost a CPU about as much as a twentieth of the products; on other devices torch keeps
    freed memory itself.
    """

    def __init__(self) -> None:
        self._kept: Tensor | None = None

    def take(self, size: int, like: Tensor) -> Tensor:
        """(size,), uninitialised, in the dtype and on the device of ``like``; the same memory at the next call."""
        if like.device.type != "cpu":
            return like.new_empty(size)
        if self._kept is None or self._kept.dtype != like.dtype or self._kept.numel() < size:
            self._kept = None  # or both would be there for a moment
            with torch.inference_mode(False):  # else writing into it outside inference mode would be refused
                self._kept = torch.empty(size, dtype=like.dtype)
        return self._kept[:size]


class TemporalTransformer(nn.Module):
    """GroupNorm, two self-attentions over the frames and a feed-forward, added to the input.

    ``tensors`` holds the official keys below ``...temporal_transformer.``; each tensor is kept as it is, only the
    three matrices of an attention are joined. ``pos_encoder.pe`` may be absent: then a table of ``positions`` rows
    is computed.
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, positions: int = 32):
        super().__init__()

        def weights(name: str) -> Weights:
            return Weights(tensors[name + ".weight"], tensors[name + ".bias"])

        block = "transformer_blocks.0."
        self.norm, self.proj_in, self.proj_out = weights("norm"), weights("proj_in"), weights("proj_out")
        self.channels = self.norm.weight.shape[0]
        self.attention_norms, self.qkv, self.to_out = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        tables = []
        for i in (0, 1):
            attention = f"{block}attention_blocks.{i}."
            self.attention_norms.append(weights(f"{block}norms.{i}"))
            self.qkv.append(Weights(torch.cat([tensors[f"{attention}to_{name}.weight"] for name in "qkv"])))
            self.to_out.append(weights(attention + "to_out.0"))
            table = tensors.get(attention + "pos_encoder.pe")
            tables.append(position_table(self.channels, positions) if table is None else table[0])
        self.ff_norm = weights(block + "ff_norm")
        self.ff_in, self.ff_out = weights(block + "ff.net.0.proj"), weights(block + "ff.net.2")
        # Not a buffer: casting the module to fp16 and back must not round the table.
        self.positions = torch.stack(tables).to(torch.promote_types(tables[0].dtype, torch.float32))
        self._tables: tuple[tuple, Tensor] | None = None
        self._block = torch.cat([parameter.detach().reshape(-1) for parameter in self.parameters()])
        self._lay_out()
        self.eval()

    def _lay_out(self) -> None:
        """Make the parameters views of one block of memory.

        Small tensors come from the heap of the thread that asks, and a server has many threads: loading now in one and
        now in another, as for an X/Y/Z plot, would leave a module's worth of holes in each. Blocks go back whole.
        """
        start = 0
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                view = self._block[start : start + parameter.numel()].view(parameter.shape)
                start += parameter.numel()
                try:
                    parameter.data = view
                except RuntimeError:  # from one kind of device to another a parameter cannot keep its identity
                    setattr(module, name, nn.Parameter(view, requires_grad=parameter.requires_grad))

    def _is_one_block(self) -> bool:
        block = self._block.untyped_storage()
        return all(
            parameter.device == self._block.device and parameter.untyped_storage().data_ptr() == block.data_ptr()
            for parameter in self.parameters()
        )

    @property
    def max_frames(self) -> int:
        """Rows of the position table: the longest window this module can see."""
        return self.positions.shape[1]

    def _apply(self, fn, *args, **kwargs):
        self._tables = None
        with torch.inference_mode(False):  # a host may move us within inference mode; that must not mark the weights
            if not self._is_one_block():  # a host moved some of the weights by themselves
                return super()._apply(fn, *args, **kwargs)
            self._block = fn(self._block)
            self._lay_out()
        return self

    def forward(
        self,
        x: Tensor,
        frames: int,
        *,
        key_scale: Tensor | None = None,
        positions: str = "trained",
        chunk_bytes: int | None = None,
        scratch: Scratch | None = None,
    ) -> Tensor:
        """x: (groups * frames, C, H, W), frames of a group next to each other; returns the same shape, x included.

        Computes in the dtype of x, on its device, under autocast too. ``key_scale`` (frames,) multiplies the keys of
        each frame in both attentions, 1 is the official formula; ``positions``: see ``stretched_positions``.
        ``chunk_bytes`` bounds the intermediates, ``scratch`` is where they may lie; modules that run one after the
        other can share it. Raises AnimateDiffError when there are more frames than positions.
        """
        if positions == "trained" and frames > self.max_frames:
            raise AnimateDiffError(
                f"The motion module knows {self.max_frames} positions, but {frames} frames came in one window. "
                f"Set the context batch size to {self.max_frames} or less."
            )
        if x.shape[0] % frames:
            raise AnimateDiffError(f"A batch of {x.shape[0]} latents cannot be split into groups of {frames} frames.")
        with _no_autocast(x.device.type):
            tables = self._position_tables(frames, x, positions)
            scale = None if key_scale is None else key_scale.to(x.device, x.dtype).view(1, frames, 1)
            if torch.is_grad_enabled() and (x.requires_grad or self.proj_in.weight.requires_grad):
                return self._forward_differentiable(x, frames, tables, scale)
            return self._forward_in_place(x, frames, tables, scale, chunk_bytes, scratch or Scratch())

    def _forward_in_place(
        self,
        x: Tensor,
        frames: int,
        tables: Tensor,
        key_scale: Tensor | None,
        chunk_bytes: int | None,
        scratch: Scratch,
    ) -> Tensor:
        """The same sums without autograd: products take every layout as it lies and add to the residual in place."""
        batch, channels, height, width = x.shape
        if not x.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous()
        normed = F.group_norm(x, NORM_GROUPS, *self.norm.like(x), NORM_EPS)

        # Frames next to each other: (positions, groups * frames, C). A row is then one position of one group, any
        # slice of rows is contiguous, and the transpositions happen inside the first and the last product, one
        # product per frame. Where a frame is too small for a product of its own, a copy is cheaper.
        per_frame = height * width >= MIN_FRAME_PRODUCT
        step = min(self._rows_per_chunk(x, frames, chunk_bytes), x.numel() // (frames * channels))
        memory = scratch.take(x.numel() + step * frames * 8 * channels, x)
        stream, wide = memory[: x.numel()].view(height * width, batch, channels), memory[x.numel() :]
        weight, bias = self.proj_in.like(x)
        if per_frame:
            weights = weight.t().expand(batch, -1, -1)
            torch.baddbmm(bias, normed.flatten(2).transpose(1, 2), weights, out=stream.transpose(0, 1))
        else:
            tokens = normed.flatten(2).permute(2, 0, 1).reshape(-1, channels)
            torch.addmm(bias, tokens, weight.t(), out=stream.view(-1, channels))
        rows = stream.view(-1, frames, channels)
        for start in range(0, rows.shape[0], step):
            self._block_in_place(rows[start : start + step], tables, key_scale, wide)

        weight, bias = self.proj_out.like(x)
        if per_frame:
            out = torch.add(x, bias.view(-1, 1, 1), out=normed)
            out.flatten(2).baddbmm_(weight.expand(batch, -1, -1), stream.permute(1, 2, 0))
            return out
        tokens = F.linear(stream, weight, bias).view(height, width, batch, channels)
        return torch.add(x, tokens.permute(2, 3, 0, 1), out=normed)

    def _block_in_place(self, rows: Tensor, tables: Tensor, key_scale: Tensor | None, wide: Tensor) -> None:
        """rows: (rows, frames, C), contiguous; becomes the output of the transformer block. ``wide`` is scratch."""
        channels = self.channels
        tokens = rows.view(-1, channels)
        count = tokens.shape[0]
        for norm, qkv, to_out, table in zip(self.attention_norms, self.qkv, self.to_out, tables, strict=True):
            normed = F.layer_norm(rows, (channels,), *norm.like(rows)).add_(table)
            joint = wide[: count * 3 * channels].view(count, 3 * channels)
            torch.mm(normed.view(count, channels), qkv.like(rows)[0].t(), out=joint)
            joint = joint.view(*rows.shape[:2], -1)
            if key_scale is not None:
                joint[..., channels : 2 * channels].mul_(key_scale)
            attended = _attention(joint)
            weight, bias = to_out.like(rows)
            tokens.add_(bias).addmm_(attended.view(count, channels), weight.t())
        normed = F.layer_norm(tokens, (channels,), *self.ff_norm.like(rows))
        half = 4 * channels
        value, gate = wide[: 2 * count * half].view(2, count, half)
        weight, bias = self.ff_in.like(rows)
        torch.addmm(bias[:half], normed, weight[:half].t(), out=value)
        torch.addmm(bias[half:], normed, weight[half:].t(), out=gate)
        weight, bias = self.ff_out.like(rows)
        tokens.add_(bias).addmm_(value.mul_(torch.ops.aten.gelu_(gate)), weight.t())

    def _forward_differentiable(self, x: Tensor, frames: int, tables: Tensor, key_scale: Tensor | None) -> Tensor:
        """The formulas one after the other, for autograd."""
        batch, channels, height, width = x.shape
        shape = (self.channels,)
        rows = F.group_norm(x, NORM_GROUPS, *self.norm.like(x), NORM_EPS).flatten(2).permute(2, 0, 1)
        rows = F.linear(rows, *self.proj_in.like(x)).reshape(-1, frames, channels)
        scale = None if key_scale is None else F.pad(key_scale.expand(1, -1, channels), (channels, channels), value=1.0)
        for norm, qkv, to_out, table in zip(self.attention_norms, self.qkv, self.to_out, tables, strict=True):
            normed = F.layer_norm(rows, shape, *norm.like(x)) + table
            joint = F.linear(normed, *qkv.like(x))
            rows = rows + F.linear(_attention(joint if scale is None else joint * scale), *to_out.like(x))
        value, gate = F.linear(F.layer_norm(rows, shape, *self.ff_norm.like(x)), *self.ff_in.like(x)).chunk(2, dim=-1)
        rows = rows + F.linear(value * F.gelu(gate), *self.ff_out.like(x))
        tokens = F.linear(rows, *self.proj_out.like(x)).view(height, width, batch, channels)
        return x + tokens.permute(2, 3, 0, 1)

    def _rows_per_chunk(self, x: Tensor, frames: int, chunk_bytes: int | None) -> int:
        row = frames * self.channels * _CHUNK_WIDTHS * x.element_size()
        if chunk_bytes is None:
            chunk_bytes = CHUNK_BYTES.get(x.device.type, CHUNK_BYTES["other"])
            chunk_bytes = max(chunk_bytes, row * MIN_CHUNK_TOKENS // frames)
        return max(1, min(MAX_ATTENTION_ROWS, chunk_bytes // row))

    def _position_tables(self, frames: int, x: Tensor, positions: str) -> Tensor:
        """(2, frames, C) in the dtype and on the device of x; the last one is kept."""
        key = (frames, x.dtype, x.device, positions)
        if self._tables is None or self._tables[0] != key:
            with torch.inference_mode(False):  # a kept inference tensor would fail in a later run with gradients
                tables = stretched_positions(self.positions, frames, positions)
                self._tables = key, tables.to(x.device, x.dtype, copy=True)
        return self._tables[1]


def _attention(qkv: Tensor) -> Tensor:
    """Self-attention over the frames of (rows, frames, 3C), per head, scale head_dim ** -0.5 -> (rows, frames, C)."""
    rows, frames, width = qkv.shape
    q, k, v = qkv.view(rows, frames, 3, HEADS, width // (3 * HEADS)).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).reshape(rows, frames, width // 3)


def _no_autocast(device_type: str) -> contextlib.AbstractContextManager:
    """Autocast off; devices it does not know have nothing to turn off."""
    try:
        return torch.autocast(device_type, enabled=False)
    except RuntimeError:
        return contextlib.nullcontext()
