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
        return low * val + high * (1 - val)
    angle = torch.acos(cosine)
    whole = torch.sin(angle)
    near, far = torch.sin((1.0 - val) * angle) / whole, torch.sin(val * angle) / whole
    return near.unsqueeze(1) * low + far.unsqueeze(1) * high


class ImageRNG:
    """The noise of one batch: ``next()`` answers (images, channels, h, w), every image from its own generator."""

    def __init__(
        self,
        shape: Sequence[int],
        seeds: Sequence[int],
        subseeds: Sequence[int] | None = None,
        subseed_strength: float = 0.0,
        seed_resize_from_h: int = 0,
        seed_resize_from_w: int = 0,
    ):
        self.shape = tuple(int(n) for n in shape)
        self.seeds = seeds
        self.subseeds = subseeds
        self.subseed_strength = subseed_strength
        self.seed_resize_from_h = seed_resize_from_h
        self.seed_resize_from_w = seed_resize_from_w
        self.generators = [create_generator(seed) for seed in seeds]
        self.is_first = True

    def first(self) -> torch.Tensor:
        """The starting noise: mixed with the variation seed, and resized where another size is asked for."""
        drawn = (self.shape[0], int(self.seed_resize_from_h) // 8, int(self.seed_resize_from_w) // 8)
        if self.seed_resize_from_h <= 0 or self.seed_resize_from_w <= 0:
            drawn = self.shape
        resized = drawn != self.shape
        rows = []
        for i, (seed, generator) in enumerate(zip(self.seeds, self.generators, strict=True)):
            variation = None
            if self.subseeds is not None and self.subseed_strength != 0:
                variation = randn(self.subseeds[i] if i < len(self.subseeds) else 0, drawn)
            noise = randn(seed, drawn, None if resized else generator)
            if variation is not None:
                noise = slerp(self.subseed_strength, noise, variation)
            rows.append(self._centred(noise, randn(seed, self.shape, generator)) if resized else noise)
        delta = getattr(shared.opts, "eta_noise_seed_delta", 0) or 0
        if delta:
            self.generators = [create_generator(seed + delta) for seed in self.seeds]
        return torch.stack(rows).to(devices.device)

    @staticmethod
    def _centred(patch: torch.Tensor, canvas: torch.Tensor) -> torch.Tensor:
        """``patch`` laid over the middle of ``canvas``; whichever is larger is cropped around its own middle."""
        spans = []
        for outer, inner in zip(canvas.shape[1:], patch.shape[1:], strict=True):
            start = (outer - inner) // 2
            size = inner if start >= 0 else inner + 2 * start
            spans.append((max(start, 0), max(-start, 0), size))
        (y, from_y, h), (x, from_x, w) = spans
        canvas[:, y : y + h, x : x + w] = patch[:, from_y : from_y + h, from_x : from_x + w]
        return canvas

    def next(self) -> torch.Tensor:
        """The next noise of every image."""
        if self.is_first:
            self.is_first = False
            return self.first()
        return torch.stack([randn_without_seed(self.shape, g) for g in self.generators]).to(devices.device)


devices.randn = randn
devices.randn_local = randn_local
devices.randn_like = randn_like
devices.randn_without_seed = randn_without_seed
devices.manual_seed = manual_seed
