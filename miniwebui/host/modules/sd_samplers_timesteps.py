"""Samplers that walk over timesteps."""

from __future__ import annotations

import inspect

import torch

from modules import devices, sd_samplers_common, sd_samplers_timesteps_impl, sd_samplers_unipc, shared
from modules.script_callbacks import ExtraNoiseParams, extra_noise_callback
from modules.sd_denoisers import CompVisTimestepsDenoiser, CompVisTimestepsVDenoiser
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.shared import opts

samplers_timesteps = [
    ("DDIM", sd_samplers_timesteps_impl.ddim, ["ddim"], {}),
    ("DDIM CFG++", sd_samplers_timesteps_impl.ddim_cfgpp, ["ddim_cfgpp"], {}),
    ("PLMS", sd_samplers_timesteps_impl.plms, ["plms"], {}),
    ("UniPC", sd_samplers_unipc.unipc, ["unipc"], {}),
]


class CFGDenoiserTimesteps(CFGDenoiser):
    """Guidance in terms of eps."""

    def __init__(self, sampler):
        super().__init__(sampler)
        self.alphas = shared.sd_model.alphas_cumprod
        self.mask_before_denoising = True

    def get_pred_x0(self, x_in, x_out, sigma):
        alpha = self.alphas[sigma.to(dtype=int)][:, None, None, None]
        return (x_in - (1 - alpha).sqrt() * x_out) / alpha.sqrt()

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
        self.model_wrap_cfg = CFGDenoiserTimesteps(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_timesteps(self, p, steps: int) -> torch.Tensor:
        """Evenly spaced timesteps in rising order."""
        if opts.always_discard_next_to_last_sigma:
            steps += 1
            p.extra_generation_params["Discard penultimate sigma"] = True
        return (torch.arange(0, 1000, 1000 // steps, device=devices.device) + 1).clamp(0, 999)

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        steps = steps or p.steps
        kwargs = {**self.initialize(p), "timesteps": self.get_timesteps(p, steps)}
        self.last_latent = x
        return self.run(p, x, steps, (conditioning, unconditional_conditioning), image_conditioning, kwargs)

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None
    ):
        steps, t_enc = sd_samplers_common.setup_img2img_steps(p, steps)
        timesteps = self.get_timesteps(p, steps)
        alpha = shared.sd_model.alphas_cumprod[timesteps[t_enc]]
        noisy = x * alpha.sqrt() + noise * (1 - alpha).sqrt()
        if opts.img2img_extra_noise > 0:
            p.extra_generation_params["Extra noise"] = opts.img2img_extra_noise
            extra = ExtraNoiseParams(noise, x, noisy)
            extra_noise_callback(extra)
            noisy = noisy + extra.noise * opts.img2img_extra_noise * alpha.sqrt()
        kwargs = {**self.initialize(p), "timesteps": timesteps[:t_enc]}
        if "is_img2img" in inspect.signature(self.func).parameters:
            kwargs["is_img2img"] = True
        self.model_wrap_cfg.init_latent = x
        self.last_latent = x
        conds = (conditioning, unconditional_conditioning)
        return self.run(p, noisy, t_enc + 1, conds, image_conditioning, kwargs)


VanillaStableDiffusionSampler = CompVisSampler  # the name of A1111 before 1.6

samplers_data_timesteps = [
    sd_samplers_common.SamplerData(name, lambda model, func=func: CompVisSampler(func, model), aliases, options)
    for name, func, aliases, options in samplers_timesteps
]
