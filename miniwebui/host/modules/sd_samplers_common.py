"""What all samplers share: the `Sampler` base, latents to images and back, the refiner's switch."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from modules import devices, images, sd_models, shared
from modules.shared import opts, state

approximation_indexes = {"Full": 0, "Approx NN": 1, "Approx cheap": 2, "TAESD": 3}

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
    if approximation is None:
        approximation = approximation_indexes.get(opts.show_progress_type, 0)
    if approximation:
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
    model.first_stage_model.to(devices.dtype_vae)
    image = image.to(devices.device, dtype=devices.dtype_vae) * 2 - 1
    rows = [model.get_first_stage_encoding(model.encode_first_stage(one[None])) for one in image]
    return torch.cat(rows)


def single_sample_to_image(sample: torch.Tensor, approximation: int | None = None) -> Image.Image:
    """One latent to a picture."""
    rgb = (samples_to_images_tensor(sample[None], approximation)[0] * 0.5 + 0.5).clamp(0, 1)
    return Image.fromarray((255.0 * rgb.permute(1, 2, 0).float().cpu().numpy()).astype(np.uint8))


def sample_to_image(samples: torch.Tensor, index: int = 0, approximation: int | None = None) -> Image.Image:
    """One latent of a batch to a picture."""
    return single_sample_to_image(samples[index], approximation)


def samples_to_image_grid(samples: torch.Tensor, approximation: int | None = None) -> Image.Image:
    """A batch of latents to one picture."""
    return images.image_grid([single_sample_to_image(x, approximation) for x in samples])


def store_latent(decoded: torch.Tensor) -> None:
    """Keep the latest denoised latents for the live preview."""
    state.current_latent = decoded
    every = opts.show_progress_every_n_steps
    due = opts.live_previews_enable and every > 0 and state.sampling_step % every == 0
    if due and not shared.parallel_processing_allowed:  # otherwise the request for progress makes the picture
        state.assign_current_image(sample_to_image(decoded))


def apply_refiner(cfg_denoiser, sigma: torch.Tensor | None = None) -> bool:
    """Switch to the refiner's checkpoint when its time has come; True if that happened."""
    p = cfg_denoiser.p
    info = p.refiner_checkpoint_info
    if opts.refiner_switch_by_sample_steps or sigma is None:
        done = cfg_denoiser.step / cfg_denoiser.total_steps
        p.extra_generation_params["Refiner switch by sampling steps"] = True
    else:
        table = getattr(cfg_denoiser.inner_model, "sigmas", None)
        highest = torch.max(sigma)  # timesteps samplers have no sigmas: theirs is the timestep itself
        timestep = highest.to(int) if table is None else (table.to(sigma.device) - highest).abs().argmin()
        done = (999 - timestep) / 1000
    if p.refiner_switch_at is not None and done < p.refiner_switch_at:
        return False
    if info is None or shared.sd_model.sd_checkpoint_info == info:
        return False
    if getattr(p, "enable_hr", False):
        which = opts.hires_fix_refiner_pass
        if which == ("first pass" if p.is_hr_pass else "second pass"):
            return False
        if which != "second pass":
            p.extra_generation_params["Hires refiner"] = which
    p.extra_generation_params["Refiner"] = info.short_title
    p.extra_generation_params["Refiner switch at"] = p.refiner_switch_at
    with sd_models.SkipWritingToConfig():
        sd_models.reload_model_weights(info=info)
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
        self.model_wrap_cfg.steps = steps
        self.model_wrap_cfg.total_steps = self.config.total_steps(steps)
        state.sampling_steps = steps
        state.sampling_step = 0
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
        self.s_min_uncond = getattr(p, "s_min_uncond", 0.0)

        wanted = inspect.signature(self.func).parameters
        kwargs = {}
        if "noise_like" in wanted:  # each picture's own noise, so that a batch equals its pictures made one by one
            source = p.rng
            kwargs["noise_like"] = lambda x: source.next()
        if "eta" in wanted:
            kwargs["eta"] = self.eta
            if self.eta != self.eta_default:
                p.extra_generation_params[self.eta_infotext_field] = self.eta
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
        self.sampler_extra_args = {
            "cond": conds[0],
            "image_cond": image_conditioning,
            "uncond": conds[1],
            "cond_scale": p.cfg_scale,
            "s_min_uncond": self.s_min_uncond,
        }
        samples = self.launch_sampling(
            steps,
            lambda: self.func(
                self.model_wrap_cfg, x, extra_args=self.sampler_extra_args, callback=self.callback_state, **kwargs
            ),
        )
        self.add_infotext(p)
        return samples

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
        if self.model_wrap_cfg.padded_cond_uncond:
            p.extra_generation_params["Pad conds"] = True
        if self.model_wrap_cfg.padded_cond_uncond_v0:
            p.extra_generation_params["Pad conds v0"] = True
