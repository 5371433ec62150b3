"""The matrix products of a motion module and nothing else: the floor that its time is compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch

HEADS = 8


def products(channels: int, tokens: int, frames: int, device: str, dtype: torch.dtype) -> Callable[[], None]:
    """A function that does every product of one module once, in order, into buffers that are already there.

    The linear layers over all tokens at once, without biases; of each attention, queries by keys and weights by
    values for every position and head, from contiguous operands.
    """

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device, dtype=dtype) * 0.01

    c = channels
    square, joint, wide, narrow = tensor(c, c), tensor(3 * c, c), tensor(8 * c, c), tensor(c, 4 * c)
    x, y, qkv = tensor(tokens, c), tensor(tokens, c), tensor(tokens, 3 * c)
    hidden, gated = tensor(tokens, 8 * c), tensor(tokens, 4 * c)
    rows = tokens // frames * HEADS
    q, k, out = (tensor(rows, frames, c // HEADS) for _ in range(3))
    weights = tensor(rows, frames, frames)

    def run() -> None:
        torch.mm(x, square.t(), out=y)
        for _ in range(2):
            torch.mm(x, joint.t(), out=qkv)
            torch.bmm(q, k.transpose(1, 2), out=weights)
            torch.bmm(weights, q, out=out)
            torch.mm(x, square.t(), out=y)
        torch.mm(x, wide.t(), out=hidden)
        torch.mm(gated, narrow.t(), out=y)
        torch.mm(x, square.t(), out=y)

    return run
