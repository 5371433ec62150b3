"""Image to video: the latents of a still image fade into noise over the frames, or into those of a last image."""

import math

import torch

from lib_animatediff.errors import RequestError


def image_ramp(frames: int, power: float, scale: float) -> torch.Tensor:
    """The share of the image in each frame, ``max(0, 1 - i**power / scale)``: (frames,) in float64, 1 to 0.

    A higher ``scale`` keeps the image longer; ``power`` above 1 keeps it at first and drops it faster later.
    """
    place = torch.arange(frames, dtype=torch.float64)
    return (1 - place**power / scale).clamp(min=0)


def blend_first_last(
    init: torch.Tensor,
    last: torch.Tensor | None,
    noise: torch.Tensor,
    *,
    power: float,
    scale: float,
    power_last: float,
    scale_last: float,
) -> torch.Tensor:
    """``alpha init + beta last + (1 - alpha - beta) noise`` per frame, in the dtype of ``noise``.

    ``noise`` is (frames, channels, h, w); ``init`` and ``last`` have that shape or one frame for all. ``alpha`` is
    ``image_ramp(power, scale)``, ``beta`` is ``image_ramp(power_last, scale_last)`` from the last frame backwards.
    Where the two exceed 1 together they are scaled down to 1, and the ends are the images alone: ``alpha`` 1 and
    ``beta`` 0 in the first frame, the reverse in the last. Without a last image ``beta`` is 0 everywhere. A single
    frame is the first image.

    :raises RequestError: a power or scale that is not positive and finite (named as in the request: ``latent_power``,
        ``latent_scale``, ``latent_power_last``, ``latent_scale_last``).
    """
    _check_positive(latent_power=power, latent_scale=scale)
    frames = noise.shape[0]
    alpha = image_ramp(frames, power, scale)
    beta = torch.zeros_like(alpha)
    if last is not None:
        _check_positive(latent_power_last=power_last, latent_scale_last=scale_last)
        beta = image_ramp(frames, power_last, scale_last).flip(0)
        excess = (alpha + beta).clamp(min=1)
        alpha, beta = alpha / excess, beta / excess
        # the first frame comes second, so that it wins when it is the last one too
        alpha[-1], beta[-1] = 0, 1
        alpha[0], beta[0] = 1, 0

    # two shares scaled down to 1 may add up to a hair more
    rest = (1 - alpha - beta).clamp(min=0)
    mixed = _share(alpha, init, noise) + _share(rest, noise, noise)
    if last is not None:
        mixed = mixed + _share(beta, last, noise)
    return mixed.to(noise.dtype)


def _share(share: torch.Tensor, latents: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``share`` of each frame of ``latents``, on the device of ``like`` and in float32 or better."""
    work = torch.promote_types(like.dtype, torch.float32)
    return share.to(like.device, work).view(-1, 1, 1, 1) * latents.to(like.device, work)


def _check_positive(**fields: float) -> None:
    for field, value in fields.items():
        if not 0 < value < math.inf:
            raise RequestError(field, f"{value} cannot be used; give a number above 0.")
