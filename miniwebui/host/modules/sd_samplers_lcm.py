"""The sampler of latent consistency models."""

from __future__ import annotations

from modules import sd_samplers_common, sd_samplers_functions, shared
from modules.sd_denoisers import LCMDenoiser
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.sd_samplers_kdiffusion import KDiffusionSampler


class CFGDenoiserLCM(CFGDenoiser):
    """Guidance around the consistency model."""

    @property
    def inner_model(self):
        if self.model_wrap is None:
            self.model_wrap = LCMDenoiser(shared.sd_model)
        return self.model_wrap


class LCMSampler(KDiffusionSampler):
    """A pass by `sample_lcm`."""

    denoiser = CFGDenoiserLCM


entries = [
    sd_samplers_common.SamplerData(
        "LCM", lambda model: LCMSampler(sd_samplers_functions.sample_lcm, model), ["k_lcm"], {}
    )
]
