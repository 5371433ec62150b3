"""Numbers that are the same on every machine and with every version: weights need not be stored beside the outputs."""

import hashlib
import math

import numpy as np
import torch

_MASK = 0xFFFFFFFFFFFFFFFF


def uniform(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """float64 tensor of numbers in [-1, 1), from the name alone: splitmix64 (Steele et al. 2014) of seed + index."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        z = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15 & _MASK) + np.uint64(
            seed
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    numbers = (z >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    return torch.from_numpy(numbers.reshape(shape))


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight of ordinary size: norms near one, biases small, matrices of unit gain."""
    drawn = uniform(name, shape)
    if len(shape) == 1:
        is_norm_weight = name.endswith(".weight")
        return drawn * 0.25 + (1.0 if is_norm_weight else 0.0)
    return drawn * math.sqrt(3.0 / math.prod(shape[1:]))


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names and float64 bytes."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(tensors[name].double().contiguous().numpy().tobytes())
    return sha.hexdigest()
