"""txt2img, with the second pass at a higher resolution ("hires fix")."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from modules import devices, extra_networks, images, lowvram, prompt_parser, rng, sd_models, sd_samplers, shared
from modules.processing_base import StableDiffusionProcessing, latent_size, opt_f
from modules.processing_results import create_infotext, decode_latent_batch
from modules.sd_samplers_common import images_tensor_to_samples


def to_image(picture: torch.Tensor) -> Image.Image:
    """(3, h, w) in 0..1 to a picture; fractions of a grey level are cut off."""
    return Image.fromarray((255.0 * picture.permute(1, 2, 0).float().cpu().numpy()).astype(np.uint8))


def from_image(image: Image.Image) -> torch.Tensor:
    """A picture to (3, h, w) in 0..1."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0).permute(2, 0, 1)


def old_hires_fix_first_pass_dimensions(width: int, height: int) -> tuple[int, int]:
    """The size of the first pass before A1111 1.0: about 512x512 pixels in the ratio asked for."""
    scale = math.sqrt(512 * 512 / (width * height))
    return math.ceil(scale * width / 64) * 64, math.ceil(scale * height / 64) * 64


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    """A txt2img request."""

    enable_hr: bool = False
    denoising_strength: float = 0.75
    firstphase_width: int = 0
    firstphase_height: int = 0
    hr_scale: float = 2.0
    hr_upscaler: str = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: str = None
    hr_sampler_name: str = None
    hr_scheduler: str = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    force_task_id: str = None

    hr_checkpoint_info: Any = field(default=None, init=False)
    hr_upscale_to_x: int = field(default=0, init=False)
    hr_upscale_to_y: int = field(default=0, init=False)
    truncate_x: int = field(default=0, init=False)
    truncate_y: int = field(default=0, init=False)
    applied_old_hires_behavior_to: tuple = field(default=None, init=False)
    latent_scale_mode: dict = field(default=None, init=False)
    hr_c: Any = field(default=None, init=False)
    hr_uc: Any = field(default=None, init=False)
    all_hr_prompts: list = field(default=None, init=False)
    all_hr_negative_prompts: list = field(default=None, init=False)
    hr_prompts: list = field(default=None, init=False)
    hr_negative_prompts: list = field(default=None, init=False)
    hr_extra_network_data: dict = field(default=None, init=False)

    cached_hr_uc = [None, None]
    cached_hr_c = [None, None]

    def __post_init__(self):
        super().__post_init__()
        if self.firstphase_width or self.firstphase_height:
            self.hr_upscale_to_x, self.hr_upscale_to_y = self.width, self.height
            self.width, self.height = self.firstphase_width, self.firstphase_height

    def calculate_target_resolution(self) -> None:
        """Size of the second pass: by scale, or to a size that is covered and then cut."""
        size = (self.width, self.height)
        if shared.opts.use_old_hires_fix_width_height and self.applied_old_hires_behavior_to != size:
            self.hr_resize_x, self.hr_resize_y = self.width, self.height
            self.width, self.height = old_hires_fix_first_pass_dimensions(self.width, self.height)
            self.applied_old_hires_behavior_to = (self.width, self.height)
        x, y, noted = self.hr_resize_x, self.hr_resize_y, self.extra_generation_params
        if not x and not y:
            noted["Hires upscale"] = self.hr_scale
            self.hr_upscale_to_x = int(self.width * self.hr_scale)
            self.hr_upscale_to_y = int(self.height * self.hr_scale)
            return
        noted["Hires resize"] = f"{x}x{y}"
        by_width = not y or (bool(x) and self.width / self.height < x / y)
        if by_width:
            self.hr_upscale_to_x, self.hr_upscale_to_y = x, x * self.height // self.width
        else:
            self.hr_upscale_to_x, self.hr_upscale_to_y = y * self.width // self.height, y
        if x and y:
            self.truncate_x = (self.hr_upscale_to_x - x) // opt_f
            self.truncate_y = (self.hr_upscale_to_y - y) // opt_f

    def init(self, all_prompts, all_seeds, all_subseeds) -> None:
        if not self.enable_hr:
            return
        noted = self.extra_generation_params
        noted["Denoising strength"] = self.denoising_strength
        if self.hr_checkpoint_name and self.hr_checkpoint_name != "Use same checkpoint":
            self.hr_checkpoint_info = sd_models.get_closet_checkpoint_match(self.hr_checkpoint_name)
            if self.hr_checkpoint_info is None:
                raise ValueError(f"Could not find checkpoint with name {self.hr_checkpoint_name}")
            noted["Hires checkpoint"] = self.hr_checkpoint_info.short_title
        if self.hr_sampler_name is not None and self.hr_sampler_name != self.sampler_name:
            noted["Hires sampler"] = self.hr_sampler_name

        def differing(of_second_pass: str, of_first_pass: str):
            def value(p, index, **known):
                text = getattr(p, of_second_pass)[index]
                return None if text == known[of_first_pass] else text

            return value

        noted["Hires prompt"] = differing("all_hr_prompts", "prompt_text")
        noted["Hires negative prompt"] = differing("all_hr_negative_prompts", "negative_prompt")
        noted["Hires schedule type"] = None  # the sampler fills it in
        if self.hr_scheduler is None:
            self.hr_scheduler = self.scheduler
        self.latent_scale_mode = shared.latent_upscale_modes.get(self.hr_upscaler or shared.latent_upscale_default_mode)
        if self.latent_scale_mode is None and all(x.name != self.hr_upscaler for x in shared.sd_upscalers):
            raise ValueError(f"could not find upscaler named {self.hr_upscaler}")
        self.calculate_target_resolution()
        self._count_jobs()
        if self.hr_second_pass_steps:
            noted["Hires steps"] = self.hr_second_pass_steps
        if self.hr_upscaler is not None:
            noted["Hires upscaler"] = self.hr_upscaler

    def _count_jobs(self) -> None:
        """Every batch has two passes."""
        state = shared.state
        if state.processing_has_refined_job_count:
            return
        if state.job_count == -1:
            state.job_count = self.n_iter
        second = self.hr_second_pass_steps or self.steps
        first = 0 if getattr(self, "txt2img_upscale", False) else self.steps
        shared.total_tqdm.updateTotal((first + second) * state.job_count)
        state.job_count *= 2
        state.processing_has_refined_job_count = True

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        if self.firstpass_image is not None and self.enable_hr:
            samples, decoded = self._from_firstpass_image()
        else:
            x = self.rng.next()
            if self.scripts is not None:
                self.scripts.process_before_every_sampling(
                    p=self, x=x, noise=x, c=conditioning, uc=unconditional_conditioning
                )
            samples = self.sampler.sample(
                self,
                x,
                conditioning,
                unconditional_conditioning,
                image_conditioning=self.txt2img_image_conditioning(x),
            )
            if not self.enable_hr:
                return samples
            decoded = None
            if self.latent_scale_mode is None:
                pictures = decode_latent_batch(self.sd_model, samples, devices.cpu, check_for_nans=True)
                decoded = torch.stack(pictures).float()
        with sd_models.SkipWritingToConfig():
            sd_models.reload_model_weights(info=self.hr_checkpoint_info)
        return self.sample_hr_pass(samples, decoded, seeds, subseeds, subseed_strength, prompts)

    def _from_firstpass_image(self):
        """(latents, None) or (None, picture in -1..1): the second pass of a picture that exists already."""
        picture = from_image(self.firstpass_image)[None]
        if self.latent_scale_mode is None:
            return None, picture * 2.0 - 1.0
        return images_tensor_to_samples(picture, model=self.sd_model), None

    def _save_first_pass(self, image: Image.Image, index: int, seeds, prompts) -> None:
        info = create_infotext(
            self, self.all_prompts, self.all_seeds, self.all_subseeds, [], self.iteration, position_in_batch=index
        )
        images.save_image(
            image, self.outpath_samples, "", seeds[index], prompts[index], shared.opts.samples_format, info=info,
            p=self, suffix="-before-highres-fix",
        )  # fmt: skip

    def _upscaled(self, samples, decoded, seeds, prompts):
        """(latents of the second pass before noise, conditioning picture)."""
        save = self.save_samples() and shared.opts.save_images_before_highres_fix
        if self.latent_scale_mode is not None:
            for i in range(len(samples) if save else 0):
                self._save_first_pass(sd_samplers.sample_to_image(samples, i, approximation=0), i, seeds, prompts)
            size = latent_size(self.hr_upscale_to_x, self.hr_upscale_to_y)
            samples = torch.nn.functional.interpolate(samples, size=size, **self.latent_scale_mode)
            return samples, self.txt2img_image_conditioning(samples)
        pictures = []
        for i, picture in enumerate(((decoded + 1.0) / 2.0).clamp(0.0, 1.0)):
            image = to_image(picture)
            if save:
                self._save_first_pass(image, i, seeds, prompts)
            target = self.hr_upscale_to_x, self.hr_upscale_to_y
            pictures.append(from_image(images.resize_image(0, image, *target, upscaler_name=self.hr_upscaler)))
        pictures = torch.stack(pictures).to(devices.device, dtype=devices.dtype_vae)
        samples = images_tensor_to_samples(pictures)
        return samples, self.img2img_image_conditioning(pictures, samples)

    def sample_hr_pass(self, samples, decoded_samples, seeds, subseeds, subseed_strength, prompts):
        """The second pass: latents or pictures of the first one in, decoded pictures out."""
        if shared.state.interrupted:
            return samples
        self.is_hr_pass = True
        self.sampler = sd_samplers.create_sampler(self.hr_sampler_name or self.sampler_name, self.sd_model)
        samples, image_conditioning = self._upscaled(samples, decoded_samples, seeds, prompts)
        shared.state.nextjob()

        top, left = self.truncate_y // 2, self.truncate_x // 2
        bottom, right = samples.shape[2] - (self.truncate_y + 1) // 2, samples.shape[3] - (self.truncate_x + 1) // 2
        samples = samples[:, :, top:bottom, left:right]
        self.rng = rng.ImageRNG(
            samples.shape[1:],
            self.seeds,
            subseeds=self.subseeds,
            subseed_strength=self.subseed_strength,
            seed_resize_from_h=self.seed_resize_from_h,
            seed_resize_from_w=self.seed_resize_from_w,
        )
        noise = self.rng.next()
        devices.torch_gc()
        if not self.disable_extra_networks:
            with devices.autocast():
                extra_networks.activate(self, self.hr_extra_network_data)
        with devices.autocast():
            self.calculate_hr_conds()
        if self.scripts is not None:
            self.scripts.before_hr(self)
            self.scripts.process_before_every_sampling(p=self, x=samples, noise=noise, c=self.hr_c, uc=self.hr_uc)
        samples = self.sampler.sample_img2img(
            self,
            samples,
            noise,
            self.hr_c,
            self.hr_uc,
            steps=self.hr_second_pass_steps or self.steps,
            image_conditioning=image_conditioning,
        )
        self.sampler = None
        devices.torch_gc()
        decoded = decode_latent_batch(self.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
        self.is_hr_pass = False
        return decoded

    def close(self) -> None:
        super().close()
        self.hr_c = self.hr_uc = None

    def _forget_conds(self) -> None:
        super()._forget_conds()
        for cache in (self.cached_hr_c, self.cached_hr_uc):
            cache[:] = [None, None]

    def setup_prompts(self) -> None:
        super().setup_prompts()
        if not self.enable_hr:
            return
        self.hr_prompt = self.hr_prompt or self.prompt
        self.hr_negative_prompt = self.hr_negative_prompt or self.negative_prompt
        count = self.batch_size * self.n_iter
        styles = shared.prompt_styles

        def listed(text):
            return text if isinstance(text, list) else [text] * count

        self.all_hr_prompts = [styles.apply_styles_to_prompt(x, self.styles) for x in listed(self.hr_prompt)]
        self.all_hr_negative_prompts = [
            styles.apply_negative_styles_to_prompt(x, self.styles) for x in listed(self.hr_negative_prompt)
        ]

    def calculate_hr_conds(self) -> None:
        """Encode the prompts of the second pass."""
        if self.hr_c is not None:
            return
        size = {"width": self.hr_upscale_to_x, "height": self.hr_upscale_to_y}
        prompts = prompt_parser.SdConditioning(self.hr_prompts, **size)
        negative = prompt_parser.SdConditioning(self.hr_negative_prompts, is_negative_prompt=True, **size)
        config = sd_samplers.find_sampler_config(self.hr_sampler_name or self.sampler_name)
        steps = self.hr_second_pass_steps or self.steps
        total = config.total_steps(steps) if config else steps
        data, first = self.hr_extra_network_data, self.firstpass_steps
        single, several = prompt_parser.get_learned_conditioning, prompt_parser.get_multicond_learned_conditioning
        self.hr_uc = self.get_conds_with_caching(
            single, negative, first, [self.cached_hr_uc, self.cached_uc], data, total
        )
        self.hr_c = self.get_conds_with_caching(several, prompts, first, [self.cached_hr_c, self.cached_c], data, total)

    def setup_conds(self) -> None:
        if self.is_hr_pass:  # the refiner asks, in the middle of the second pass
            self.hr_c = None
            self.calculate_hr_conds()
            return
        super().setup_conds()
        self.hr_uc = self.hr_c = None
        if not self.enable_hr or self.hr_checkpoint_info is not None:
            return
        if shared.opts.hires_fix_use_firstpass_conds:
            self.calculate_hr_conds()
            return
        model = shared.sd_model
        if lowvram.is_enabled(model) and model.sd_checkpoint_info == sd_models.select_checkpoint():
            # now, while the text encoder is on the device
            with devices.autocast():
                extra_networks.activate(self, self.hr_extra_network_data)
            self.calculate_hr_conds()
            with devices.autocast():
                extra_networks.activate(self, self.extra_network_data)

    def get_conds(self):
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()

    def parse_extra_network_prompts(self) -> None:
        super().parse_extra_network_prompts()
        if self.enable_hr:
            first = self.iteration * self.batch_size
            batch = slice(first, first + self.batch_size)
            self.hr_negative_prompts = self.all_hr_negative_prompts[batch]
            self.hr_prompts, self.hr_extra_network_data = extra_networks.parse_prompts(self.all_hr_prompts[batch])
