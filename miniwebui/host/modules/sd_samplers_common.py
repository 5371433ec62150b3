"""What all samplers share: the `Sampler` base, latents to images and back, the refiner's switch."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from modules import devices, images, sd_models, shared
from modules.script_callbacks import ExtraNoiseParams, extra_noise_callback
from modules.shared import opts, state

# a linear map from SD1 latents to RGB, by least squares over photographs
_CHEAP_RGB = torch.tensor([[0.30, 0.19, 0.21], [0.19, 0.29, 0.17], [-0.16, 0.19, 0.26], [-0.18, -0.27, -0.47]])


class SamplerData(namedtuple("SamplerData", ["name", "constructor", "aliases", "options"])):
    """An entry of the list of samplers."""

    def total_steps(self, steps: int) -> int:
        """How often the denoiser is expected to be called in so many steps."""
        return steps * 2 if self.options.get("second_order", False) else steps


class InterruptedException(BaseException):
    """The user interrupted or skipped: sampling ends with the last latent."""


def setup_img2img_steps(p, steps: int | None = None) -> tuple[int, int]:
    """(steps of the whole schedule, index of the last step to do from the end) for p.denoising_strength."""
    strength = min(p.denoising_strength, 0.999)
    if not opts.img2img_fix_steps and steps is None:
        return p.steps, int(strength * p.steps)
    wanted = steps or p.steps
    return int(wanted / strength) if p.denoising_strength > 0 else 0, wanted - 1


def samples_to_images_tensor(sample: torch.Tensor, approximation: int | None = None, model=None) -> torch.Tensor:
    """Latents (b, 4, h, w) to images (b, 3, 8h, 8w) in -1..1; approximations keep the latents' size."""
    cheap = opts.show_progress_type != "Full" if approximation is None else approximation != 0
    if cheap:
        return torch.einsum("bchw,cr->brhw", sample.float(), _CHEAP_RGB.to(sample.device))
    model = shared.sd_model if model is None else model
    with torch.no_grad(), devices.without_autocast():
        return model.decode_first_stage(sample.to(model.first_stage_model.dtype))


def decode_first_stage(model, x: torch.Tensor) -> torch.Tensor:
    """Latents to images in -1..1 by the autoencoder."""
    return samples_to_images_tensor(x.to(devices.dtype_vae), 0, model)


def images_tensor_to_samples(image: torch.Tensor, approximation=None, model=None) -> torch.Tensor:
    """Images (b, 3, h, w) in 0..1 to latents, one by one (the draw from the posterior is each image's own)."""
    model = shared.sd_model if model is None else model
    image = image.to(devices.device, dtype=devices.dtype_vae) * 2 - 1
    rows = [model.get_first_stage_encoding(model.encode_first_stage(one[None])) for one in image]
    return torch.cat(rows)


def sample_to_image(samples: torch.Tensor, index: int = 0, approximation: int | None = None) -> Image.Image:
    """One latent of a batch to a picture."""
    rgb = (samples_to_images_tensor(samples[index][None], approximation)[0] * 0.5 + 0.5).clamp(0, 1)
    return Image.fromarray((255.0 * rgb.permute(1, 2, 0).float().cpu().numpy()).astype(np.uint8))


def samples_to_image_grid(samples: torch.Tensor, approximation: int | None = None) -> Image.Image:
    """A batch of latents to one picture."""
    return images.image_grid([sample_to_image(samples, i, approximation) for i in range(len(samples))])


def store_latent(decoded: torch.Tensor) -> None:
    """Keep the latest denoised latents for the live preview."""
    every, state.current_latent = opts.show_progress_every_n_steps, decoded
    due = opts.live_previews_enable and every > 0 and state.sampling_step % every == 0
    if due and not shared.parallel_processing_allowed:  # otherwise the request for progress makes the picture
        state.assign_current_image(sample_to_image(decoded))


def _refiner_is_due(cfg_denoiser, sigma: torch.Tensor | None) -> bool:
    """True if the share of the way that is done has reached `refiner_switch_at`."""
    p = cfg_denoiser.p
    if sigma is None or opts.refiner_switch_by_sample_steps:
        p.extra_generation_params.update({"Refiner switch by sampling steps": True})
        done = cfg_denoiser.step / cfg_denoiser.total_steps
    else:
        table = getattr(cfg_denoiser.inner_model, "sigmas", None)
        highest = torch.max(sigma)  # timesteps samplers have no sigmas: theirs is the timestep itself
        timestep = highest.to(int) if table is None else (table.to(sigma.device) - highest).abs().argmin()
        done = (999 - timestep) / 1000
    return p.refiner_switch_at is None or bool(done >= p.refiner_switch_at)


def apply_refiner(cfg_denoiser, sigma: torch.Tensor | None = None) -> bool:
    """Switch to the refiner's checkpoint when its time has come; True if that happened."""
    p = cfg_denoiser.p
    due, info = _refiner_is_due(cfg_denoiser, sigma), p.refiner_checkpoint_info
    if not due or info is None or shared.sd_model.sd_checkpoint_info == info:
        return False
    noted = {"Refiner": info.short_title, "Refiner switch at": p.refiner_switch_at}
    if vars(p).get("enable_hr"):
        passes = opts.hires_fix_refiner_pass
        if passes == ("first pass" if p.is_hr_pass else "second pass"):
            return False
        if passes != "second pass":
            noted = {"Hires refiner": passes, **noted}
    p.extra_generation_params.update(noted)
    sd_models.use_for_now(info)
    devices.torch_gc()
    p.setup_conds()
    cfg_denoiser.update_inner_model()
    return True


def is_sampler_using_eta_noise_seed_delta(p) -> bool:
    """True if the option "Eta noise seed delta" matters to the sampler of ``p``."""
    from modules import sd_samplers

    config = sd_samplers.find_sampler_config(p.sampler_name)
    eta = p.eta if p.eta is not None else getattr(p.sampler, "eta", None)
    return eta != 0 and bool(config and config.options.get("uses_ensd", False))


class Sampler:
    """One sampling pass: the function of a method, and the denoiser it calls."""

    extra_params: tuple[str, ...] = ()
    eta_option_field, eta_infotext_field, eta_default = "eta_ancestral", "Eta", 1.0

    def __init__(self, func: Callable):
        self.func = self.funcname = func
        self.config: SamplerData | None = None  # set by create_sampler
        self.p = None
        self.model_wrap_cfg = None
        self.model_wrap = None
        self.sampler_extra_args: dict | None = None
        self.last_latent: torch.Tensor | None = None
        self.eta: float | None = None
        self.s_min_uncond = 0.0
        self.stop_at: int | None = None
        self.options: dict = {}
        self.conditioning_key = shared.sd_model.model.conditioning_key

    def callback_state(self, d: dict) -> None:
        """Called by the method's function once per step."""
        if self.stop_at is not None and d["i"] > self.stop_at:
            raise InterruptedException
        state.sampling_step = d["i"]

    def launch_sampling(self, steps: int, func: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Run; an interrupt answers the last latent."""
        denoiser = self.model_wrap_cfg
        denoiser.steps, denoiser.total_steps = steps, self.config.total_steps(steps)
        state.sampling_steps, state.sampling_step = steps, 0
        try:
            return func()
        except InterruptedException:
            return self.last_latent

    def initialize(self, p) -> dict:
        """Make the denoiser ready for ``p``; answers the arguments of the method's function that come from ``p``."""
        self.p = p
        cfg = self.model_wrap_cfg
        cfg.p = p
        cfg.mask, cfg.nmask = getattr(p, "mask", None), getattr(p, "nmask", None)
        cfg.step = 0
        cfg.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.eta = p.eta if p.eta is not None else getattr(opts, self.eta_option_field)
        self.s_min_uncond = p.s_min_uncond or 0.0

        wanted = inspect.signature(self.func).parameters
        kwargs = {}
        if "noise_like" in wanted:  # each picture's own noise, so that a batch equals its pictures made one by one
            source = p.rng
            kwargs["noise_like"] = lambda x: source.next()
        if "eta" in wanted:
            eta = kwargs["eta"] = self.eta
            if eta != self.eta_default:
                p.extra_generation_params.update({self.eta_infotext_field: eta})
        for name, label, default in (
            ("s_churn", "Sigma churn", 0.0),
            ("s_tmin", "Sigma tmin", 0.0),
            ("s_tmax", "Sigma tmax", float("inf")),
            ("s_noise", "Sigma noise", 1.0),
        ):
            if name in wanted:  # a setting goes before the request, and only a setting is noted (as A1111 has it)
                setting = getattr(opts, name)
                if setting not in (0, default):
                    p.extra_generation_params[label] = setting
                    setattr(p, name, setting)
                value = getattr(p, name)
                kwargs[name] = default if value is None else value
        return kwargs

    def run(self, p, x, steps: int, conds, image_conditioning, kwargs: dict) -> torch.Tensor:
        """The common end of ``sample`` and ``sample_img2img``; ``conds`` is (cond, uncond)."""
        names = ("cond", "uncond", "image_cond", "cond_scale", "s_min_uncond")
        values = (*conds, image_conditioning, p.cfg_scale, self.s_min_uncond)
        self.sampler_extra_args = dict(zip(names, values, strict=True))
        given = {"extra_args": self.sampler_extra_args, "callback": self.callback_state, **kwargs}
        samples = self.launch_sampling(steps, lambda: self.func(self.model_wrap_cfg, x, **given))
        self.add_infotext(p)
        return samples

    def start_latent(self, p, x, noise, noisy, scale=1.0):
        """Note the original of img2img; answers ``noisy`` with the extra noise that the settings add."""
        self.model_wrap_cfg.init_latent = self.last_latent = x
        extra = opts.img2img_extra_noise
        if extra <= 0:
            return noisy
        p.extra_generation_params.update({"Extra noise": extra})
        params = ExtraNoiseParams(noise, x, noisy)
        extra_noise_callback(params)
        return noisy + params.noise * extra * scale

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        """Noise ``x`` (b, 4, h, w) to latents."""
        raise NotImplementedError

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None
    ):
        """Latents ``x`` with ``noise`` to new latents."""
        raise NotImplementedError

    def add_infotext(self, p) -> None:
        """Note in the infotext what the denoiser did on its own."""
        for label, name in (("Pad conds", "padded_cond_uncond"), ("Pad conds v0", "padded_cond_uncond_v0")):
            if getattr(self.model_wrap_cfg, name):
                p.extra_generation_params[label] = True
