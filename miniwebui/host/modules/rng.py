"""Random numbers by seed: one generator per image, so that a batch gives what its images give one by one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from modules import devices, shared


def _source() -> torch.device:
    """The device numbers are drawn on; a CPU source makes them equal on every machine."""
    on_cpu = getattr(shared.opts, "randn_source", "GPU") == "CPU" or devices.device.type == "mps"
    return devices.cpu if on_cpu else devices.device


def create_generator(seed: int) -> torch.Generator:
    """A generator seeded with ``seed`` on the source device."""
    return torch.Generator(_source()).manual_seed(int(seed))


def manual_seed(seed: int) -> None:
    """Seed torch's global generators."""
    torch.manual_seed(int(seed))


def randn(seed: int, shape: Sequence[int], generator: torch.Generator | None = None) -> torch.Tensor:
    """Normal numbers; seeds the global generator too, and draws from it unless ``generator`` is given."""
    manual_seed(seed)
    return randn_without_seed(shape, generator)


def randn_local(seed: int, shape: Sequence[int]) -> torch.Tensor:
    """The first normal tensor of a seed, without touching the global generator."""
    return randn_without_seed(shape, create_generator(seed))


def randn_without_seed(shape: Sequence[int], generator: torch.Generator | None = None) -> torch.Tensor:
    """The next normal tensor of a generator (of the global one when none is given)."""
    return torch.randn(tuple(shape), device=_source(), generator=generator).to(devices.device)


def randn_like(x: torch.Tensor) -> torch.Tensor:
    """The global generator's next normal tensor in the shape and dtype of ``x``."""
    return torch.randn(x.shape, dtype=x.dtype, device=_source()).to(x.device)


def slerp(val: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Spherical interpolation from ``low`` (val 0) to ``high`` (val 1), over dim 1 (Shoemake 1985).

    Nearly parallel inputs are mixed linearly, with the weights the other way round: A1111 does so and seeds rely on it.
    """
    cosine = (low / low.norm(dim=1, keepdim=True) * (high / high.norm(dim=1, keepdim=True))).sum(1)
    if cosine.mean() > 0.9995:
        return val * low + (1 - val) * high
    angle = torch.acos(cosine)
    whole = torch.sin(angle)
    near, far = torch.sin((1.0 - val) * angle) / whole, torch.sin(val * angle) / whole
    return near.unsqueeze(1) * low + far.unsqueeze(1) * high


class ImageRNG:
    """The noise of one batch: ``next()`` answers (images, channels, h, w), every image from its own generator."""

    def __init__(
        self, shape: Sequence[int], seeds: Sequence[int], subseeds: Sequence[int] | None = None,
        subseed_strength: float = 0.0, seed_resize_from_h: int = 0, seed_resize_from_w: int = 0,
    ):  # fmt: skip
        # the last two are A1111's and mean nothing here
        self.shape, self.seeds, self.subseeds = tuple(int(n) for n in shape), seeds, subseeds
        self.variation = subseed_strength if subseeds is not None else 0.0
        self.generators = list(map(create_generator, seeds))
        self.is_first = True

    def _start(self, i: int) -> torch.Tensor:
        """Image ``i``'s starting noise, mixed with that of its variation seed."""
        other = None
        if self.variation != 0:
            other = randn(self.subseeds[i] if i < len(self.subseeds) else 0, self.shape)
        own = randn(self.seeds[i], self.shape, self.generators[i])
        return own if other is None else slerp(self.variation, own, other)

    def first(self) -> torch.Tensor:
        """The starting noise of every image."""
        noise = torch.stack([self._start(i) for i in range(len(self.seeds))])
        delta = getattr(shared.opts, "eta_noise_seed_delta", 0) or 0
        if delta:
            self.generators = [create_generator(seed + delta) for seed in self.seeds]
        return noise.to(devices.device)

    def next(self) -> torch.Tensor:
        """The next noise of every image."""
        if self.is_first:
            self.is_first = False
            return self.first()
        return torch.stack([randn_without_seed(self.shape, g) for g in self.generators]).to(devices.device)


# extensions look for these in `devices`
for _function in (randn, randn_local, randn_like, randn_without_seed, manual_seed):
    setattr(devices, _function.__name__, _function)
