"""FreeInit: start sampling again from noise that keeps the slow part of the last result.

Wu, Si, Jiang, Huang, Liu, "FreeInit: Bridging Initialization Gap in Video Diffusion Models", 2023 (arXiv:2312.07537).
After each pass of sampling the clean latents ``z_0`` are diffused to the last timestep with the noise of the first
pass, their low frequencies over time and space are kept, and the high ones are drawn anew:

    z_T  = diffuse_to_end(z_0, eps_initial, alpha_bar_T)
    z_T' = mix_frequencies(z_T, eps_fresh, low_pass_filter((frames, h, w), kind, d_s, d_t))

All of this happens in the variance-preserving latent z, which has unit variance at T. The latent of k-diffusion is
``x = z * sqrt(1 + sigma_max**2)`` with ``sigma_max = sqrt((1 - alpha_bar_T) / alpha_bar_T)``. A host that itself
multiplies the noise it is given by ``sigma_max`` wants ``z * sqrt(1 + sigma_max**2) / sigma_max``.
"""

import math

import torch

from lib_animatediff.errors import RequestError

FILTER_KINDS = ("butterworth", "gaussian", "ideal", "box")


def low_pass_filter(
    shape: tuple[int, int, int],
    kind: str,
    d_s: float,
    d_t: float,
    *,
    order: int = 4,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """The share of each frequency that is kept: (frames, h, w) in [0, 1], zero frequency at index ``n // 2``.

    With ``f = 2 (i - n // 2) / n``, which is -1 to 1 between the two Nyquist frequencies of an axis of n samples,
    and ``d^2 = (d_s / d_t * f_t)^2 + f_h^2 + f_w^2``:

    - ``butterworth``  ``1 / (1 + (d^2 / d_s^2)^order)``
    - ``gaussian``     ``exp(-d^2 / (2 d_s^2))``
    - ``ideal``        1 where ``d^2 <= d_s^2``, else 0
    - ``box``          1 up to ``round(n // 2 * d)`` samples from the centre along every axis, else 0

    ``d_s`` and ``d_t`` are the stop frequencies over space and time; with either at 0 nothing is kept.

    The authors' code writes f as ``2 i / n - 1``. That is the same for even n; for odd n it is off the zero frequency
    by ``1 / n``, which would make the filter differ between a frequency and its negative. Its ``ideal`` compares with
    ``2 d_s``, and its ``box`` leaves out the last sample on one side; both are put right here.

    :raises RequestError: an unknown kind, or a stop frequency that is negative or not finite.
    """
    if kind not in FILTER_KINDS:
        raise RequestError("freeinit_filter", f"{kind!r} is unknown; use one of {', '.join(FILTER_KINDS)}.")
    for field, value in (("freeinit_ds", d_s), ("freeinit_dt", d_t)):
        if not 0 <= value < math.inf:
            raise RequestError(field, f"{value} is not a frequency; use 0 to 1.")
    if d_s == 0 or d_t == 0:
        return torch.zeros(shape, dtype=dtype)

    t, h, w = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    t, h, w = t[:, None, None], h[None, :, None], w[None, None, :]
    if kind == "box":
        reach_t, reach_h, reach_w = (round(n // 2 * d) for n, d in zip(shape, (d_t, d_s, d_s), strict=True))
        return ((t.abs() <= reach_t) & (h.abs() <= reach_h) & (w.abs() <= reach_w)).to(dtype)

    frames, height, width = shape
    # in units of the stop frequencies: d^2 / d_s^2, without dividing one tiny number by another
    ratio = (2 * t / frames / d_t) ** 2 + (2 * h / height / d_s) ** 2 + (2 * w / width / d_s) ** 2
    if kind == "butterworth":
        kept = 1 / (1 + ratio**order)
    elif kind == "gaussian":
        kept = torch.exp(-ratio / 2)
    else:
        kept = ratio <= 1 + 1e-9  # a frequency on the border is kept, however its square is rounded
    return kept.to(dtype)


def mix_frequencies(low: torch.Tensor, high: torch.Tensor, lpf: torch.Tensor) -> torch.Tensor:
    """The low frequencies of one clip and the high ones of another: ``Re IFFT(FFT(low) F + FFT(high) (1 - F))``.

    ``low`` and ``high`` are (frames, channels, h, w), ``lpf`` is F of ``low_pass_filter``, (frames, h, w), transforms
    run over frames, height and width. The result has the dtype and device of ``low``.

    Computed as ``high + IFFT(FFT(low - high) F)``, the same by linearity with half the transforms, so that mixing a
    clip with itself returns it unchanged. Always on the CPU, in float32 or better: not every device has transforms,
    and the same seed gives the same noise on all of them.
    """
    work = torch.promote_types(low.dtype, torch.float32)
    base = high.detach().to("cpu", work)
    difference = low.detach().to("cpu", work) - base
    keep = torch.fft.ifftshift(lpf.to("cpu", work))[:, None]
    axes = (0, 2, 3)
    mixed = base + torch.fft.ifftn(torch.fft.fftn(difference, dim=axes) * keep, dim=axes).real
    return mixed.to(low)


def diffuse_to_end(x0: torch.Tensor, noise: torch.Tensor, alpha_bar_T: float) -> torch.Tensor:  # noqa: N803
    """``z_T = sqrt(alpha_bar_T) z_0 + sqrt(1 - alpha_bar_T) eps``: clean latents as they are at the last timestep.

    ``noise`` is the noise the first pass started from, of unit variance and the shape of ``x0``.

    :raises ValueError: ``alpha_bar_T`` lies outside [0, 1].
    """
    if not 0 <= alpha_bar_T <= 1:
        raise ValueError(f"alpha_bar_T is {alpha_bar_T}, not a share of variance between 0 and 1")
    return math.sqrt(alpha_bar_T) * x0 + math.sqrt(1 - alpha_bar_T) * noise
