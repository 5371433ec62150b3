"""Samplers that walk over sigmas."""

from __future__ import annotations

import inspect
import warnings

import torch

from modules import devices, rng, sd_samplers_common, sd_samplers_functions, sd_schedulers, shared
from modules.sd_denoisers import CompVisDenoiser, CompVisVDenoiser
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.shared import opts

# name, function, aliases, options
samplers_k_diffusion = [
    ("DPM++ 2M", sd_samplers_functions.sample_dpmpp_2m, ["k_dpmpp_2m"], {"scheduler": "karras"}),
    ("DPM++ SDE", sd_samplers_functions.sample_dpmpp_sde, ["k_dpmpp_sde"],
     {"scheduler": "karras", "second_order": True, "brownian_noise": True}),
    ("DPM++ 2M SDE", sd_samplers_functions.sample_dpmpp_2m_sde, ["k_dpmpp_2m_sde"],
     {"scheduler": "exponential", "brownian_noise": True}),
    ("DPM++ 2M SDE Heun", sd_samplers_functions.sample_dpmpp_2m_sde, ["k_dpmpp_2m_sde_heun"],
     {"scheduler": "exponential", "brownian_noise": True, "solver_type": "heun"}),
    ("Euler a", sd_samplers_functions.sample_euler_ancestral, ["k_euler_a", "k_euler_ancestral"], {"uses_ensd": True}),
    ("Euler", sd_samplers_functions.sample_euler, ["k_euler"], {}),
    ("Heun", sd_samplers_functions.sample_heun, ["k_heun"], {"second_order": True}),
    ("Restart", sd_samplers_functions.sample_restart, ["restart"], {"scheduler": "karras", "second_order": True}),
]  # fmt: skip


class BrownianNoise:
    """Increments of each picture's own Brownian path over sigma, scaled to unit variance."""

    def __init__(self, x: torch.Tensor, sigma_min: float, sigma_max: float, seeds):
        import torchsde
        from torchsde._brownian import brownian_interval

        # it rounds its ends and then warns of the sigmas themselves
        warnings.filterwarnings("ignore", message=r"Should have t[ab][<>]=t[01]", module="torchsde")
        # torchsde draws on the tensor's device; the seeds' numbers must come from the source that all noise comes from
        brownian_interval._randn = lambda size, dtype, device, seed: rng.randn_local(seed, size).to(device, dtype)
        start, end, zero = torch.tensor(float(sigma_min)), torch.tensor(float(sigma_max)), torch.zeros_like(x[0])
        self.trees = [torchsde.BrownianTree(start, zero, end, entropy=int(seed)) for seed in seeds]

    def __call__(self, sigma, sigma_next) -> torch.Tensor:
        a, b = float(sigma), float(sigma_next)
        sign = 1 if a < b else -1
        rows = [tree(torch.tensor(min(a, b)), torch.tensor(max(a, b))) for tree in self.trees]
        return torch.stack(rows) * sign / abs(b - a) ** 0.5


class CFGDenoiserKDiffusion(CFGDenoiser):
    """Guidance in terms of denoised latents."""

    @property
    def inner_model(self):
        if self.model_wrap is None:
            kind = CompVisVDenoiser if shared.sd_model.parameterization == "v" else CompVisDenoiser
            self.model_wrap = kind(shared.sd_model, quantize=opts.enable_quantization)
        return self.model_wrap


class KDiffusionSampler(sd_samplers_common.Sampler):
    """A pass by one of the functions of sd_samplers_functions."""

    denoiser = CFGDenoiserKDiffusion

    def __init__(self, func, sd_model):
        super().__init__(func)
        denoiser = self.denoiser(self)
        self.model_wrap_cfg, self.model_wrap = denoiser, denoiser.inner_model

    def get_sigmas(self, p, steps: int) -> torch.Tensor:
        """The sigmas of so many steps by the schedule that ``p`` asks for."""
        if not opts.always_discard_next_to_last_sigma:
            return self._scheduled(p, steps).cpu()
        p.extra_generation_params.update({"Discard penultimate sigma": True})
        sigmas = self._scheduled(p, steps + 1)
        return torch.cat([sigmas[:-2], sigmas[-1:]]).cpu()

    def _scheduled(self, p, steps: int) -> torch.Tensor:
        own = p.sampler_noise_scheduler_override
        if own:
            return own(steps)
        name = (p.hr_scheduler if p.is_hr_pass else p.scheduler) or "Automatic"
        if name == "Automatic":
            name = self.config.options.get("scheduler")
        scheduler = sd_schedulers.schedulers_map.get(name)
        if scheduler is None or scheduler.function is None:
            return self.model_wrap.get_sigmas(steps)

        noted = p.extra_generation_params
        if not p.is_hr_pass:
            noted["Schedule type"] = scheduler.label
        elif scheduler.label != noted.get("Schedule type"):
            noted["Hires schedule type"] = scheduler.label
        kwargs = {"sigma_min": self.model_wrap.sigmas[0].item(), "sigma_max": self.model_wrap.sigmas[-1].item()}
        for name, label in (("sigma_min", "Schedule min sigma"), ("sigma_max", "Schedule max sigma")):
            chosen = getattr(opts, name)
            if chosen not in (0, kwargs[name]):
                kwargs[name] = noted[label] = chosen
        if scheduler.default_rho != -1 and opts.rho not in (0, scheduler.default_rho):
            kwargs["rho"] = noted["Schedule rho"] = opts.rho
        if bool(scheduler.need_inner_model):
            kwargs["inner_model"] = self.model_wrap
        return scheduler.function(n=steps, **kwargs, device=devices.cpu)

    def _arguments(self, p, x, sigmas, whole_schedule) -> dict:
        """The arguments of the method's function."""
        kwargs = {**self.initialize(p), "sigmas": sigmas}
        options = self.config.options
        if options.get("brownian_noise"):
            first = p.iteration * p.batch_size
            seeds = p.all_seeds[first : first + p.batch_size]
            positive = whole_schedule[whole_schedule > 0]
            kwargs["noise_sampler"] = BrownianNoise(x, positive.min(), whole_schedule.max(), seeds)
        if "solver_type" in options and "solver_type" in inspect.signature(self.func).parameters:
            kwargs["solver_type"] = options["solver_type"]
        return kwargs

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        count = steps or p.steps
        schedule = self.get_sigmas(p, count)
        scale = schedule[0]
        if opts.sgm_noise_multiplier:
            p.extra_generation_params.update({"SGM noise multiplier": True})
            scale = (scale**2.0 + 1.0).sqrt()
        self.last_latent = x = x * scale
        kwargs = self._arguments(p, x, schedule, schedule)
        return self.run(p, x, count, (conditioning, unconditional_conditioning), image_conditioning, kwargs)

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None
    ):
        count, last = sd_samplers_common.setup_img2img_steps(p, steps)
        schedule = self.get_sigmas(p, count)
        remaining = schedule[count - last - 1 :]
        noisy = self.start_latent(p, x, noise, x + noise * remaining[0])
        kwargs = self._arguments(p, x, remaining, schedule)
        return self.run(p, noisy, last + 1, (conditioning, unconditional_conditioning), image_conditioning, kwargs)


entries = [
    sd_samplers_common.SamplerData(name, lambda model, func=func: KDiffusionSampler(func, model), aliases, options)
    for name, func, aliases, options in samplers_k_diffusion
]
