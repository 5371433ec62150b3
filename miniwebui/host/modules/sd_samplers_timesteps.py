"""Samplers that walk over timesteps."""

from __future__ import annotations

import inspect

import torch

from modules import devices, sd_samplers_common, sd_samplers_timesteps_impl, sd_samplers_unipc, shared
from modules.sd_denoisers import CompVisTimestepsDenoiser, CompVisTimestepsVDenoiser
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.shared import opts

# functions by name; aliases are the names in small letters
_METHODS = {
    "DDIM": sd_samplers_timesteps_impl.ddim,
    "DDIM CFG++": sd_samplers_timesteps_impl.ddim_cfgpp,
    "PLMS": sd_samplers_timesteps_impl.plms,
    "UniPC": sd_samplers_unipc.unipc,
}


class CFGDenoiserTimesteps(CFGDenoiser):
    """Guidance in terms of eps."""

    def __init__(self, sampler):
        super().__init__(sampler)
        self.mask_before_denoising, self.alphas = True, shared.sd_model.alphas_cumprod

    def get_pred_x0(self, x_in, x_out, sigma):
        signal = self.alphas[sigma.to(dtype=int)].view(-1, 1, 1, 1)
        return (x_in - (1 - signal).sqrt() * x_out) / signal.sqrt()

    @property
    def inner_model(self):
        if self.model_wrap is None:
            v = shared.sd_model.parameterization == "v"
            self.model_wrap = (CompVisTimestepsVDenoiser if v else CompVisTimestepsDenoiser)(shared.sd_model)
        return self.model_wrap


class CompVisSampler(sd_samplers_common.Sampler):
    """A pass by one of the functions of sd_samplers_timesteps_impl."""

    eta_option_field, eta_infotext_field, eta_default = "eta_ddim", "Eta DDIM", 0.0

    def __init__(self, func, sd_model):
        super().__init__(func)
        denoiser = CFGDenoiserTimesteps(self)
        self.model_wrap_cfg, self.model_wrap = denoiser, denoiser.inner_model

    def get_timesteps(self, p, steps: int) -> torch.Tensor:
        """Evenly spaced timesteps in rising order."""
        if opts.always_discard_next_to_last_sigma:
            p.extra_generation_params.update({"Discard penultimate sigma": True})
            steps += 1
        return (torch.arange(0, 1000, 1000 // steps, device=devices.device) + 1).clamp(0, 999)

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        count = steps or p.steps
        self.last_latent = x
        kwargs = {**self.initialize(p), "timesteps": self.get_timesteps(p, count)}
        return self.run(p, x, count, (conditioning, unconditional_conditioning), image_conditioning, kwargs)

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None
    ):
        count, last = sd_samplers_common.setup_img2img_steps(p, steps)
        rising = self.get_timesteps(p, count)
        signal = shared.sd_model.alphas_cumprod[rising[last]]
        noisy = x * signal.sqrt() + noise * (1 - signal).sqrt()
        noisy = self.start_latent(p, x, noise, noisy, signal.sqrt())
        kwargs = {**self.initialize(p), "timesteps": rising[:last]}
        if "is_img2img" in inspect.signature(self.func).parameters:
            kwargs["is_img2img"] = True
        return self.run(p, noisy, last + 1, (conditioning, unconditional_conditioning), image_conditioning, kwargs)


entries = [
    sd_samplers_common.SamplerData(
        name,
        lambda model, func=func: CompVisSampler(func, model),
        [name.lower().replace(" ", "_").replace("+", "p")],
        {},
    )
    for name, func in _METHODS.items()
]
