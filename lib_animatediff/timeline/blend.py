"""Ways between two values: how they are mixed, and how fast it goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import Tensor

# Nearly parallel vectors: the sine that spherical interpolation divides by is too small to trust.
_PARALLEL = 0.9995

EASINGS: MappingProxyType[str, Callable[[float], float]] = MappingProxyType(
    {
        "linear": lambda t: t,
        "ease-in": lambda t: t * t,
        "ease-out": lambda t: t * (2 - t),
        "ease-in-out": lambda t: t * t * (3 - 2 * t),
        "step": lambda t: 0.0,
    }
)
"""From the distance between two keyframes, 0 to 1, to the share of the second: the usual quadratic curves, the cubic
smoothstep, and no way at all."""


def lerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """(1 - share) a + share b, for tensors of the same shape."""
    return a * (1 - share) + b * share


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical interpolation of two tensors of the same shape, each taken as one vector (Shoemake 1985).

    Nearly parallel ones, and those of which one is zero, are interpolated linearly. Computed in float32 or better.
    """
    wide = torch.promote_types(a.dtype, torch.float32)
    x, y = a.to(wide).flatten(), b.to(wide).flatten()
    norms = float(x.norm() * y.norm())
    cosine = float(x @ y) / norms if norms else 1.0
    if abs(cosine) > _PARALLEL:
        return lerp(a, b, share)
    angle = math.acos(cosine)
    mixed = (math.sin((1 - share) * angle) * x + math.sin(share * angle) * y) / math.sin(angle)
    return mixed.view_as(a).to(a.dtype)


BLENDS: MappingProxyType[str, Callable[[Tensor, Tensor, float], Tensor]] = MappingProxyType(
    {"slerp": slerp, "lerp": lerp}
)
