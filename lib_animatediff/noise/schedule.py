"""Noise schedules the motion models were trained with.

A naming trap: diffusers' ``linear`` is linear in beta, diffusers' ``scaled_linear`` is linear in sqrt(beta); LDM and
the WebUIs call the second one "linear". The names here are diffusers'.
"""

from __future__ import annotations

import torch

TIMESTEPS = 1000


def alphas_cumprod(kind: str, beta_start: float, beta_end: float, timesteps: int = TIMESTEPS) -> torch.Tensor:
    """Cumulative products of 1 - beta (Ho et al. 2020, eq. 4), float32, shape (timesteps,).

    ``kind``: "linear" (betas evenly spaced) or "scaled_linear" (their square roots evenly spaced). Everything is
    computed in float32, as the training code and every peer does: float64 would differ in the sixth digit.
    Raises ValueError for another kind.
    """
    if kind == "linear":
        betas = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float32)
    elif kind == "scaled_linear":
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float32) ** 2
    else:
        raise ValueError(f"unknown beta schedule {kind!r}: expected linear or scaled_linear")
    return torch.cumprod(1.0 - betas, dim=0)


def rescale_zero_terminal_snr(table: torch.Tensor) -> torch.Tensor:
    """``table`` (alphas_cumprod) shifted and scaled so that the last timestep holds next to no signal.

    Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1. The last entry is the
    4.9e-8 that the WebUIs put in place of 0, which would make the last sigma infinite.
    """
    roots = table.sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    rescaled = ((roots - last) * (first / (first - last))) ** 2
    rescaled[-1] = 4.8973451890853435e-08
    return rescaled
