"""Schedules of noise levels: n + 1 sigmas from the highest to 0."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch


def append_zero(sigmas: torch.Tensor) -> torch.Tensor:
    """The sigmas with the final 0."""
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def uniform(n, sigma_min, sigma_max, inner_model, device):
    """Evenly spaced timesteps from the last to the first."""
    sigmas = inner_model.get_sigmas(n)
    return sigmas.to(device)


def karras(n, sigma_min, sigma_max, rho=7.0, device="cpu"):
    """Karras et al. 2022, eq. 5."""
    ramp = torch.linspace(0, 1, n)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return append_zero((high + ramp * (low - high)) ** rho).to(device)


def exponential(n, sigma_min, sigma_max, device="cpu"):
    """Evenly spaced logarithms."""
    return append_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), n, device=device).exp())


def polyexponential(n, sigma_min, sigma_max, rho=1.0, device="cpu"):
    """`exponential` with a bent ramp."""
    ramp = torch.linspace(1, 0, n, device=device) ** rho
    return append_zero(torch.exp(ramp * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min)))


def sgm_uniform(n, sigma_min, sigma_max, inner_model, device):
    """Evenly spaced timesteps, the last of which is left out (Stability's generative-models)."""
    start, end = (inner_model.sigma_to_t(torch.tensor(s)) for s in (sigma_max, sigma_min))
    steps = torch.linspace(float(start), float(end), n + 1)[:-1]
    return append_zero(torch.stack([inner_model.t_to_sigma(t) for t in steps]).cpu()).to(device)


def normal(n, sigma_min, sigma_max, inner_model, device):
    """Evenly spaced timesteps between two sigmas."""
    start, end = (inner_model.sigma_to_t(torch.tensor(s)) for s in (sigma_max, sigma_min))
    steps = torch.linspace(float(start), float(end), n)
    return append_zero(torch.stack([inner_model.t_to_sigma(t) for t in steps]).cpu()).to(device)


def kl_optimal(n, sigma_min, sigma_max, device):
    """Evenly spaced angles (Sabour et al. 2024, section 4.1)."""
    share = torch.arange(n + 1, device=device) / n
    return torch.tan(share * math.atan(sigma_min) + (1 - share) * math.atan(sigma_max))


def align_your_steps(n, sigma_min, sigma_max, device):
    """Sabour et al. 2024: ten optimised steps for SD1.5, interpolated in the logarithm."""
    table = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]
    at = np.linspace(0, 1, n)
    sigmas = np.exp(np.interp(at, np.linspace(0, 1, len(table)), np.log(table)))
    return append_zero(torch.tensor(sigmas, dtype=torch.float32)).to(device)


def simple(n, sigma_min, sigma_max, inner_model, device):
    """Every so many-th sigma of the model's table."""
    table = inner_model.sigmas.cpu()
    stride = len(table) / n
    return append_zero(torch.stack([table[-(1 + int(i * stride))] for i in range(n)])).to(device)


def ddim(n, sigma_min, sigma_max, inner_model, device):
    """The sigmas of DDIM's timesteps."""
    table = inner_model.sigmas.cpu()
    return append_zero(table[1 :: max(len(table) // n, 1)].flip(0)).to(device)


@dataclass
class Scheduler:
    """An entry of the list: ``name`` is the key of the API, ``label`` is shown."""

    name: str
    label: str
    function: Callable | None
    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list[str] = field(default_factory=list)


def _entry(label: str, function: Callable | None, default_rho: float = -1, aliases: tuple[str, ...] = ()) -> Scheduler:
    """An entry whose name is the label in small letters."""
    of_model = function is not None and "inner_model" in inspect.signature(function).parameters
    return Scheduler(label.lower().replace(" ", "_"), label, function, default_rho, of_model, list(aliases))


schedulers = [
    _entry("Automatic", None),
    _entry("Uniform", uniform),
    _entry("Karras", karras, default_rho=7.0),
    _entry("Exponential", exponential),
    _entry("Polyexponential", polyexponential, default_rho=1.0),
    _entry("SGM Uniform", sgm_uniform, aliases=("SGMUniform",)),
    _entry("KL Optimal", kl_optimal),
    _entry("Align Your Steps", align_your_steps),
    _entry("Simple", simple),
    _entry("Normal", normal),
    _entry("DDIM", ddim),
]

schedulers_map = {key: x for x in schedulers for key in (x.name, x.label)}
