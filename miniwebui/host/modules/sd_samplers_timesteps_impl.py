"""Sampling methods by timestep: ``method(model, x, timesteps, ...)``; the model answers eps."""

from __future__ import annotations

import torch

from modules.sd_samplers_functions import _Walk


class _Steps:
    """alpha-bar at each timestep and at the one before; steps of DDIM's form."""

    def __init__(self, model, x: torch.Tensor, timesteps: torch.Tensor):
        table = model.inner_model.inner_model.alphas_cumprod
        wide = torch.float32 if x.device.type in ("mps", "xpu") else torch.float64
        before = torch.nn.functional.pad(timesteps[:-1], pad=(1, 0))
        self.alphas = table[timesteps]
        self.alphas_before = table[before].to(wide)

    def sigma(self, i: int, eta: float) -> float:
        """The deviation of the noise of a DDIM step (Song et al. 2020, eq. 16)."""
        a, b = self.alphas[i].item(), self.alphas_before[i].item()
        return eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5

    def step(self, x, eps, i: int, direction=None, sigma: float = 0.0):
        """(x at the timestep before without its noise, predicted x0) (Song et al. 2020, eq. 12)."""
        a, b = (x.new_tensor(t[i].item()) for t in (self.alphas, self.alphas_before))
        x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        along = (1.0 - b - sigma**2).sqrt() * (eps if direction is None else direction)
        return b.sqrt() * x0 + along, x0


@torch.no_grad()
def ddim(model, x, timesteps, noise_like, extra_args=None, callback=None, eta=0.0):
    """Denoising diffusion implicit models (Song et al. 2020)."""
    return _ddim(model, x, timesteps, noise_like, extra_args, callback, eta, lambda eps: eps)


@torch.no_grad()
def ddim_cfgpp(model, x, timesteps, noise_like, extra_args=None, callback=None, eta=0.0):
    """CFG++ (Chung et al. 2024): the direction is the uncond's eps; the scale is divided by 12.5 to lie in 0..1."""
    model.need_last_noise_uncond, model.cond_scale_miltiplier = True, 1 / 12.5
    return _ddim(model, x, timesteps, noise_like, extra_args, callback, eta, lambda eps: model.last_noise_uncond)


def _ddim(model, x, timesteps, noise_like, extra_args, callback, eta, direction):
    walk, steps = _Walk(model, x, extra_args, callback), _Steps(model, x, timesteps)
    for done, i in enumerate(reversed(range(1, len(timesteps)))):
        eps = walk(x, timesteps[i].item())
        sigma = steps.sigma(i, eta)
        x, x0 = steps.step(x, eps, i, direction(eps), sigma)
        x = x + sigma * noise_like(x)
        walk.tell(done, x, 0, x0)
    return x


# Adams-Bashforth weights for eps of this step, the one before, ... (Liu et al. 2022, PNDM)
_MULTISTEP = [[1.0], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]


@torch.no_grad()
def plms(model, x, timesteps, extra_args=None, callback=None):
    """Pseudo linear multistep (Liu et al. 2022); the first step looks ahead by Euler."""
    walk, steps = _Walk(model, x, extra_args, callback), _Steps(model, x, timesteps)
    history: list[torch.Tensor] = []
    for done, i in enumerate(reversed(range(1, len(timesteps)))):
        history = [walk(x, timesteps[i].item()), *history[:3]]
        if len(history) == 1:
            ahead, _ = steps.step(x, history[0], i)
            eps = (history[0] + walk(ahead, timesteps[i - 1].item())) / 2
        else:
            eps = sum(weight * old for weight, old in zip(_MULTISTEP[len(history) - 1], history, strict=True))
        x, x0 = steps.step(x, eps, i)
        walk.tell(done, x, 0, x0)
    return x
