"""UniPC (Zhao et al. 2023): a multistep predictor with a corrector, for models that predict noise by timestep."""

from __future__ import annotations

import numpy as np
import torch

from modules.sd_samplers_functions import _Walk
from modules.shared import opts


class _Curve:
    """alpha, sigma and lambda = log(alpha / sigma) over continuous time 0..1, between the training's timesteps."""

    def __init__(self, alphas_cumprod: torch.Tensor):
        self.log_alphas = 0.5 * np.log(alphas_cumprod.double().cpu().numpy())
        self.steps = len(self.log_alphas)
        self.times = np.arange(1, self.steps + 1) / self.steps

    def at(self, time: float) -> tuple[float, float, float]:
        """(alpha, sigma, lambda)."""
        log_alpha = np.interp(time, self.times, self.log_alphas)
        sigma = np.sqrt(1 - np.exp(2 * log_alpha))
        return float(np.exp(log_alpha)), float(sigma), float(log_alpha - np.log(sigma))

    def spaced(self, start: float, end: float, n: int, kind: str) -> np.ndarray:
        """n + 1 times from ``start`` to ``end``, even in time, in its root, or in lambda."""
        if kind == "logSNR":
            wanted = np.linspace(self.at(start)[2], self.at(end)[2], n + 1)
            lambdas = np.array([self.at(t)[2] for t in self.times])
            return np.interp(wanted, lambdas[::-1], self.times[::-1])
        if kind == "time_quadratic":
            return np.linspace(start**0.5, end**0.5, n + 1) ** 2
        return np.linspace(start, end, n + 1)


def _coefficients(ratios: list[float], h: float, variant: str) -> tuple[np.ndarray, np.ndarray, float, float]:
    """(weights of the predictor, of the corrector, B(h), phi_1) for steps back at ``ratios`` of the step ahead.

    Section 3.3 of the paper, for the prediction of x0 (so h enters as -h).
    """
    hh, order = -h, len(ratios) + 1
    first = np.expm1(hh)
    scale = hh if variant == "bh1" else first
    matrix = np.vander(np.array([*ratios, 1.0]), order, increasing=True).T
    phi, factorial, right = first / hh - 1, 1, []
    for i in range(1, order + 1):
        right.append(phi * factorial / scale)
        factorial *= i + 1
        phi = phi / hh - 1 / factorial
    right = np.array(right)
    predictor = np.array([0.5]) if order == 2 else np.linalg.solve(matrix[:-1, :-1], right[:-1])
    corrector = np.array([0.5]) if order == 1 else np.linalg.solve(matrix, right)
    return predictor, corrector, scale, first


@torch.no_grad()
def unipc(model, x, timesteps, extra_args=None, callback=None, is_img2img=False):
    """As many steps as ``timesteps`` has, over times of UniPC's own."""
    walk = _Walk(model, x, extra_args, callback)
    curve = _Curve(model.inner_model.inner_model.alphas_cumprod)
    steps, order, variant = len(timesteps), opts.uni_pc_order, opts.uni_pc_variant
    if variant not in ("bh1", "bh2"):
        raise ValueError(f"The setting uni_pc_variant is {variant!r}; this host knows bh1 and bh2.")
    if steps < order:
        raise ValueError(f"UniPC of order {order} needs at least {order} steps, not {steps}.")
    start = timesteps[-1].item() / 1000 + 1 / 1000 if is_img2img else 1.0
    times = curve.spaced(start, 1.0 / curve.steps, steps, opts.uni_pc_skip_type)

    def predict(x, i):
        alpha, sigma, _ = curve.at(times[i])
        return (x - sigma * walk(x, (times[i] - 1.0 / curve.steps) * 1000.0)) / alpha

    history = [(times[0], predict(x, 0))]
    for i in range(1, steps + 1):
        here = min(order, i)
        if opts.uni_pc_lower_order_final and i >= order:
            here = min(here, steps + 1 - i)
        alpha, sigma, log_snr = curve.at(times[i])
        (time, last), older = history[-1], history[-2 : -1 - here : -1]
        _, sigma_last, log_snr_last = curve.at(time)
        h = log_snr - log_snr_last
        ratios = [(curve.at(t)[2] - log_snr_last) / h for t, _ in older]
        slopes = [(old - last) / r for (_, old), r in zip(older, ratios, strict=True)]
        predictor, corrector, scale, first = _coefficients(ratios, h, variant)

        base = sigma / sigma_last * x - alpha * first * last
        x = base - alpha * scale * sum(float(w) * d for w, d in zip(predictor, slopes, strict=False))
        if i < steps:  # the last step is not corrected
            now = predict(x, i)
            slopes.append(now - last)
            x = base - alpha * scale * sum(float(w) * d for w, d in zip(corrector, slopes, strict=True))
            history = [*history, (times[i], now)][-max(order, 1) :]
        else:
            now = last
        walk.tell(i - 1, x, 0, now)
    return x
