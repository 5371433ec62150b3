"""Denoisers around a model: from (noisy latents, sigma) to denoised latents, in the terms of Karras et al. 2022."""

from __future__ import annotations

import torch

from modules.sd_schedulers import append_zero


def _column(x: torch.Tensor) -> torch.Tensor:
    """(b,) to (b, 1, 1, 1)."""
    return x[:, None, None, None]


class DiscreteSchedule(torch.nn.Module):
    """A table of sigmas with one entry per timestep of training, and the way between the two."""

    def __init__(self, sigmas: torch.Tensor, quantize: bool):
        super().__init__()
        self.register_buffer("sigmas", sigmas)
        self.register_buffer("log_sigmas", sigmas.log())
        self.quantize = quantize

    @property
    def sigma_min(self) -> torch.Tensor:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> torch.Tensor:
        return self.sigmas[-1]

    def get_sigmas(self, n: int | None = None) -> torch.Tensor:
        """n evenly spaced timesteps as sigmas, from the highest, then 0."""
        if n is None:
            return append_zero(self.sigmas.flip(0))
        return append_zero(self.t_to_sigma(torch.linspace(len(self.sigmas) - 1, 0, n, device=self.sigmas.device)))

    def sigma_to_t(self, sigma: torch.Tensor, quantize: bool | None = None) -> torch.Tensor:
        """The (fractional) timestep of a sigma, linear in the logarithm between the table's entries."""
        table = self.log_sigmas.float()
        wanted = sigma.to(table.device).float().log().flatten()
        quantize = self.quantize if quantize is None else quantize
        if quantize:
            return (wanted - table[:, None]).abs().argmin(dim=0).view(sigma.shape)
        low = (torch.searchsorted(table, wanted, right=True) - 1).clamp(0, len(table) - 2)
        start, end = table[low], table[low + 1]
        share = ((wanted - start) / (end - start)).clamp(0, 1)
        return (low + share).view(sigma.shape)

    def t_to_sigma(self, t: torch.Tensor) -> torch.Tensor:
        """The sigma of a (fractional) timestep."""
        table = self.log_sigmas.float()
        t = t.float().to(table.device)
        return torch.lerp(table[t.floor().long()], table[t.ceil().long()], t.frac()).exp()


class CompVisDenoiser(DiscreteSchedule):
    """A model that predicts the noise."""

    def __init__(self, model, quantize: bool = False, alphas_cumprod: torch.Tensor | None = None):
        alphas = model.alphas_cumprod if alphas_cumprod is None else alphas_cumprod
        super().__init__(((1 - alphas) / alphas) ** 0.5, quantize)
        self.inner_model = model
        self.sigma_data = 1.0

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, **kwargs) -> torch.Tensor:
        """Denoised latents; ``kwargs`` go to ``model.apply_model``."""
        c_in = 1 / (sigma**2 + self.sigma_data**2) ** 0.5
        eps = self.inner_model.apply_model(x * _column(c_in), self.sigma_to_t(sigma), **kwargs)
        return x - eps * _column(sigma)


class CompVisVDenoiser(CompVisDenoiser):
    """A model that predicts v (Salimans & Ho 2022)."""

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, **kwargs) -> torch.Tensor:
        scale = sigma**2 + self.sigma_data**2
        v = self.inner_model.apply_model(x * _column(1 / scale**0.5), self.sigma_to_t(sigma), **kwargs)
        return x * _column(self.sigma_data**2 / scale) - v * _column(sigma * self.sigma_data / scale**0.5)


class LCMDenoiser(CompVisDenoiser):
    """A latent consistency model (Luo et al. 2023): 50 of the 1000 timesteps, and its boundary scalings."""

    timesteps, original_timesteps = 1000, 50

    def __init__(self, model):
        self.skip_steps = self.timesteps // self.original_timesteps
        kept = model.alphas_cumprod[self.skip_steps - 1 :: self.skip_steps].float()
        super().__init__(model, quantize=True, alphas_cumprod=kept)

    def get_sigmas(self, n: int | None = None) -> torch.Tensor:
        if n is None:
            return append_zero(self.sigmas.flip(0))
        start, end = float(self.sigma_to_t(self.sigma_max)), float(self.sigma_to_t(self.sigma_min))
        return append_zero(self.t_to_sigma(torch.linspace(start, end, n, device=self.sigmas.device)))

    def sigma_to_t(self, sigma: torch.Tensor, quantize: bool | None = None) -> torch.Tensor:
        return super().sigma_to_t(sigma, quantize=True) * self.skip_steps + (self.skip_steps - 1)

    def t_to_sigma(self, t: torch.Tensor) -> torch.Tensor:
        index = (t.float() - (self.skip_steps - 1)) / self.skip_steps
        return super().t_to_sigma(index.clamp(0, len(self.sigmas) - 1))

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, **kwargs) -> torch.Tensor:
        data = 0.5
        time = self.sigma_to_t(sigma) * 10.0
        denoised = super().forward(x, sigma, **kwargs)
        total = time**2 + data**2
        return _column(time / total**0.5) * denoised + _column(data**2 / total) * x


class CompVisTimestepsDenoiser(torch.nn.Module):
    """A model that predicts the noise, asked by timestep; answers eps."""

    def __init__(self, model):
        super().__init__()
        self.inner_model = model

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, **kwargs) -> torch.Tensor:
        return self.inner_model.apply_model(x, timesteps, **kwargs)


class CompVisTimestepsVDenoiser(CompVisTimestepsDenoiser):
    """A model that predicts v, asked by timestep; answers eps."""

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, **kwargs) -> torch.Tensor:
        v = super().forward(x, timesteps, **kwargs)
        alpha = _column(self.inner_model.alphas_cumprod[timesteps.to(torch.int)])
        return alpha.sqrt() * v + (1 - alpha).sqrt() * x
