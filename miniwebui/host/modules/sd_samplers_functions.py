"""Sampling methods in sigma: ``method(model, x, sigmas, ...)`` from noise to latents.

``model(x, sigma, **extra_args)`` answers denoised latents; ``noise_like(x)`` draws each picture's next noise. The
formulas follow the papers named; their use in this shape is due to k-diffusion (K. Crowson).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch

from modules.sd_schedulers import karras


def to_d(x, sigma, denoised):
    """The derivative dx/dsigma of the probability flow (Karras et al. 2022, eq. 3)."""
    return (x - denoised) / sigma


def ancestral_step(sigma_from, sigma_to, eta: float):
    """(sigma to step down to, sigma of the noise to add) of an ancestral step."""
    if not eta:
        return sigma_to, 0.0
    up = min(sigma_to, eta * (sigma_to**2 * (sigma_from**2 - sigma_to**2) / sigma_from**2) ** 0.5)
    return (sigma_to**2 - up**2) ** 0.5, up


class _Walk:
    """One pass over the sigmas: counts the model's calls per step and tells the callback."""

    def __init__(self, model, x, extra_args, callback):
        self.model, self.extra_args, self.callback = model, extra_args or {}, callback
        self.ones = x.new_ones([x.shape[0]])

    def __call__(self, x, sigma):
        return self.model(x, sigma * self.ones, **self.extra_args)

    @staticmethod
    def steps(sigmas) -> range:
        """Indices of the steps of a schedule."""
        return range(len(sigmas) - 1)

    def tell(self, i, x, sigma, denoised, sigma_hat=None):
        if self.callback is not None:
            sigma_hat = sigma if sigma_hat is None else sigma_hat
            self.callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma_hat, "denoised": denoised})


@torch.no_grad()
def sample_euler(
    model, x, sigmas, noise_like, extra_args=None, callback=None, s_churn=0.0, s_tmin=0.0, s_tmax=math.inf, s_noise=1.0
):
    """Euler's method, with the churn of Karras et al. 2022, algorithm 2."""
    walk = _Walk(model, x, extra_args, callback)
    for i in walk.steps(sigmas):
        sigma = sigmas[i]
        if s_churn > 0 and s_tmin <= sigma <= s_tmax:
            gamma = min(s_churn / (len(sigmas) - 1), 2**0.5 - 1)
            churned = sigma * (gamma + 1)
            x = x + noise_like(x) * s_noise * (churned**2 - sigma**2) ** 0.5
            sigma = churned
        denoised = walk(x, sigma)
        walk.tell(i, x, sigmas[i], denoised, sigma)
        x = x + to_d(x, sigma, denoised) * (sigmas[i + 1] - sigma)
    return x


@torch.no_grad()
def sample_euler_ancestral(model, x, sigmas, noise_like, extra_args=None, callback=None, eta=1.0):
    """Euler's method with ancestral noise."""
    walk = _Walk(model, x, extra_args, callback)
    for i in walk.steps(sigmas):
        denoised = walk(x, sigmas[i])
        down, up = ancestral_step(sigmas[i], sigmas[i + 1], eta)
        walk.tell(i, x, sigmas[i], denoised)
        x = x + to_d(x, sigmas[i], denoised) * (down - sigmas[i])
        if sigmas[i + 1] > 0:
            x = x + noise_like(x) * up
    return x


@torch.no_grad()
def sample_heun(
    model, x, sigmas, noise_like, extra_args=None, callback=None, s_churn=0.0, s_tmin=0.0, s_tmax=math.inf, s_noise=1.0
):
    """Heun's method (Karras et al. 2022, algorithm 2)."""
    walk = _Walk(model, x, extra_args, callback)
    for i in walk.steps(sigmas):
        sigma, following = sigmas[i], sigmas[i + 1]
        if s_churn > 0 and s_tmin <= sigma <= s_tmax:
            churned = sigma * (min(s_churn / (len(sigmas) - 1), 2**0.5 - 1) + 1)
            x = x + noise_like(x) * s_noise * (churned**2 - sigma**2) ** 0.5
            sigma = churned
        denoised = walk(x, sigma)
        walk.tell(i, x, sigmas[i], denoised, sigma)
        d = to_d(x, sigma, denoised)
        if following > 0:
            ahead = x + d * (following - sigma)
            d = (d + to_d(ahead, following, walk(ahead, following))) / 2
        x = x + d * (following - sigma)
    return x


@torch.no_grad()
def sample_dpmpp_2m(model, x, sigmas, extra_args=None, callback=None):
    """DPM-Solver++(2M) (Lu et al. 2022): second order by the denoised latents of the step before."""
    walk = _Walk(model, x, extra_args, callback)
    before = None
    for i in walk.steps(sigmas):
        denoised = walk(x, sigmas[i])
        walk.tell(i, x, sigmas[i], denoised)
        t, following = -sigmas[i].log(), -sigmas[i + 1].log()
        guess = denoised
        if before is not None and sigmas[i + 1] > 0:
            r = (t + sigmas[i - 1].log()) / (following - t)
            guess = denoised + (denoised - before) / (2 * r)
        x = (sigmas[i + 1] / sigmas[i]) * x - torch.expm1(t - following) * guess
        before = denoised
    return x


@torch.no_grad()
def sample_dpmpp_sde(
    model, x, sigmas, noise_sampler: Callable, extra_args=None, callback=None, eta=1.0, s_noise=1.0, r=1 / 2
):
    """DPM-Solver++ (stochastic, single step): a half-way point in every step."""
    walk = _Walk(model, x, extra_args, callback)

    def down_and_up(t, following):
        return ancestral_step(t.neg().exp(), following.neg().exp(), eta)

    for i in walk.steps(sigmas):
        denoised = walk(x, sigmas[i])
        walk.tell(i, x, sigmas[i], denoised)
        if sigmas[i + 1] == 0:
            x = x + to_d(x, sigmas[i], denoised) * (sigmas[i + 1] - sigmas[i])
            continue
        t, following = -sigmas[i].log(), -sigmas[i + 1].log()
        middle = t + (following - t) * r
        sigma_middle = middle.neg().exp()

        down, up = down_and_up(t, middle)
        log_down = -down.log()
        half = (down / sigmas[i]) * x - torch.expm1(t - log_down) * denoised
        half = half + noise_sampler(sigmas[i], sigma_middle) * s_noise * up
        denoised_half = walk(half, sigma_middle)

        down, up = down_and_up(t, following)
        log_down = -down.log()
        weight = 1 / (2 * r)
        mixed = (1 - weight) * denoised + weight * denoised_half
        x = (down / sigmas[i]) * x - torch.expm1(t - log_down) * mixed
        x = x + noise_sampler(sigmas[i], sigmas[i + 1]) * s_noise * up
    return x


@torch.no_grad()
def sample_dpmpp_2m_sde(
    model,
    x,
    sigmas,
    noise_sampler: Callable,
    extra_args=None,
    callback=None,
    eta=1.0,
    s_noise=1.0,
    solver_type="midpoint",
):
    """DPM-Solver++(2M) of the SDE; ``solver_type`` is "midpoint" or "heun"."""
    walk = _Walk(model, x, extra_args, callback)
    before = h_before = None
    for i in walk.steps(sigmas):
        sigma, following = sigmas[i], sigmas[i + 1]
        denoised = walk(x, sigma)
        walk.tell(i, x, sigma, denoised)
        if following == 0:
            return denoised
        h = sigma.log() - following.log()
        decay = torch.exp(-eta * h)
        x, span = following / sigma * decay * x, -torch.expm1(-h - eta * h)
        x = x + span * denoised
        if before is not None:
            r = h_before / h
            factor = span / (-h - eta * h) + 1 if solver_type == "heun" else 0.5 * span
            x = x + factor * (1 / r) * (denoised - before)
        if eta:
            x = x + noise_sampler(sigma, following) * following * (-torch.expm1(-2 * eta * h)).sqrt() * s_noise
        before, h_before = denoised, h
    return x


@torch.no_grad()
def sample_lcm(model, x, sigmas, noise_like, extra_args=None, callback=None):
    """Multistep consistency sampling (Song et al. 2023, algorithm 1)."""
    walk = _Walk(model, x, extra_args, callback)
    for i in walk.steps(sigmas):
        denoised = walk(x, sigmas[i])
        walk.tell(i, x, sigmas[i], denoised)
        x = denoised
        if sigmas[i + 1] > 0:
            x = x + sigmas[i + 1] * noise_like(x)
    return x


def restart_steps(sigmas: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs (from, to): 20 steps or more go back from sigma 0.1 to 2 once, 36 or more twice."""
    steps = len(sigmas) - 1
    if steps < 20:
        return list(pairwise(sigmas))
    length, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    sigmas = karras(steps - length * times, sigmas[-2].item(), sigmas[0].item(), device=sigmas.device)
    low, high = (int((sigmas - at).abs().argmin()) for at in (0.1, 2.0))
    pairs = list(pairwise(sigmas))
    if high >= low:
        return pairs
    again = karras(length + 1, sigmas[low].item(), sigmas[high].item(), device=sigmas.device)[:-1]
    return pairs[:low] + list(pairwise(again)) * times + pairs[low:]


@torch.no_grad()
def sample_restart(model, x, sigmas, noise_like, extra_args=None, callback=None, s_noise=1.0):
    """Restart sampling (Xu et al. 2023): Heun's method that adds noise and walks part of the way once more."""
    walk = _Walk(model, x, extra_args, callback)
    reached = None
    for i, (sigma, following) in enumerate(restart_steps(sigmas)):
        if reached is not None and reached < sigma:
            x = x + noise_like(x) * s_noise * (sigma**2 - reached**2) ** 0.5
        denoised = walk(x, sigma)
        d = to_d(x, sigma, denoised)
        walk.tell(i, x, following, denoised, sigma)
        if following > 0:
            ahead = x + d * (following - sigma)
            d = (d + to_d(ahead, following, walk(ahead, following))) / 2
        x = x + d * (following - sigma)
        reached = following
    return x
