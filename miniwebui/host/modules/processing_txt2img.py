"""txt2img, with the second pass at a higher resolution ("hires fix")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from modules import devices, extra_networks, images, lowvram, rng, sd_models, sd_samplers, shared
from modules.processing_base import StableDiffusionProcessing, latent_size, opt_f
from modules.processing_results import create_infotext, decode_latent_batch
from modules.script_base import call_hook
from modules.sd_samplers_common import images_tensor_to_samples


def to_image(picture: torch.Tensor) -> Image.Image:
    """(3, h, w) in 0..1 to a picture; fractions of a grey level are cut off."""
    return Image.fromarray((255.0 * picture.permute(1, 2, 0).float().cpu().numpy()).astype(np.uint8))


def from_image(image: Image.Image) -> torch.Tensor:
    """A picture to (3, h, w) in 0..1."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0).permute(2, 0, 1)


def _where_it_differs(of_second_pass: str, of_first_pass: str):
    """An infotext's value: the text of the second pass where it is not that of the first."""

    def value(p, index, **known):
        text = getattr(p, of_second_pass)[index]
        return None if text == known[of_first_pass] else text

    return value


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

    # what the host fills in while it works; no part of a request
    hr_checkpoint_info = latent_scale_mode = hr_c = hr_uc = hr_extra_network_data = None
    all_hr_prompts = hr_prompts = all_hr_negative_prompts = hr_negative_prompts = None
    hr_upscale_to_x = hr_upscale_to_y = truncate_x = truncate_y = 0

    cached_hr_uc = [None, None]
    cached_hr_c = [None, None]

    def calculate_target_resolution(self) -> None:
        """Size of the second pass: by scale, or to a size that is covered and then cut."""
        asked, first = (self.hr_resize_x, self.hr_resize_y), (self.width, self.height)
        noted = self.extra_generation_params
        if asked == (0, 0):
            noted["Hires upscale"] = self.hr_scale
            target = tuple(int(side * self.hr_scale) for side in first)
        else:
            noted["Hires resize"] = "{}x{}".format(*asked)
            # the side that decides: the other one follows in the first pass's ratio
            across = asked[1] == 0 or (asked[0] != 0 and first[0] / first[1] < asked[0] / asked[1])
            x, y = asked
            target = (x, x * first[1] // first[0]) if across else (y * first[0] // first[1], y)
            if x and y:
                self.truncate_x, self.truncate_y = ((t - a) // opt_f for t, a in zip(target, asked, strict=True))
        self.hr_upscale_to_x, self.hr_upscale_to_y = target

    def init(self, all_prompts, all_seeds, all_subseeds) -> None:
        if not self.enable_hr:
            return
        self.latent_scale_mode = shared.latent_upscale_modes.get(self.hr_upscaler or shared.latent_upscale_default_mode)
        known = self.latent_scale_mode is not None or any(x.name == self.hr_upscaler for x in shared.sd_upscalers)
        noted = self.extra_generation_params
        noted["Denoising strength"] = self.denoising_strength
        if self.hr_checkpoint_name not in (None, "", "Use same checkpoint"):
            self.hr_checkpoint_info = sd_models.checkpoint_named(self.hr_checkpoint_name)
            noted["Hires checkpoint"] = self.hr_checkpoint_info.short_title
        if self.hr_sampler_name not in (None, self.sampler_name):
            noted["Hires sampler"] = self.hr_sampler_name
        for label, mine, first in (
            ("Hires prompt", "all_hr_prompts", "prompt_text"),
            ("Hires negative prompt", "all_hr_negative_prompts", "negative_prompt"),
        ):
            noted[label] = _where_it_differs(mine, first)
        noted["Hires schedule type"] = None  # the sampler fills it in
        self.hr_scheduler = self.scheduler if self.hr_scheduler is None else self.hr_scheduler
        if not known:
            raise ValueError(f"could not find upscaler named {self.hr_upscaler}")
        self.calculate_target_resolution()
        self._count_jobs()
        for label, value in (("Hires steps", self.hr_second_pass_steps or None), ("Hires upscaler", self.hr_upscaler)):
            if value is not None:
                noted[label] = value

    @property
    def _second_steps(self) -> int:
        return self.hr_second_pass_steps or self.steps

    def _count_jobs(self) -> None:
        """Every batch has two passes."""
        state = shared.state
        if state.processing_has_refined_job_count:
            return
        batches = self.n_iter if state.job_count == -1 else state.job_count
        state.job_count, state.processing_has_refined_job_count = 2 * batches, True

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        by_pixels = self.latent_scale_mode is None
        samples = decoded = None
        if self.enable_hr and self.firstpass_image is not None:
            samples, decoded = self._from_firstpass_image()
        else:
            x = self.rng.next()
            call_hook(
                self, "process_before_every_sampling", x=x, noise=x, c=conditioning, uc=unconditional_conditioning
            )
            samples = self.sampler.sample(
                self, x, conditioning, unconditional_conditioning, image_conditioning=self.txt2img_image_conditioning(x)
            )
            if not self.enable_hr:
                return samples
            if by_pixels:
                decoded = decode_latent_batch(self.sd_model, samples, devices.cpu, check_for_nans=True)
                decoded = torch.stack(decoded).float()
        sd_models.use_for_now(self.hr_checkpoint_info)
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
        if mode := self.latent_scale_mode:
            for i in range(len(samples) if save else 0):
                self._save_first_pass(sd_samplers.sample_to_image(samples, i, approximation=0), i, seeds, prompts)
            size = latent_size(self.hr_upscale_to_x, self.hr_upscale_to_y)
            samples = torch.nn.functional.interpolate(samples, size=size, **mode)
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
        larger, image_conditioning = self._upscaled(samples, decoded_samples, seeds, prompts)
        shared.state.nextjob()

        rows, columns = (
            slice(cut // 2, size - (cut + 1) // 2)
            for cut, size in zip((self.truncate_y, self.truncate_x), larger.shape[2:], strict=True)
        )
        larger = larger[:, :, rows, columns]
        self.rng = rng.ImageRNG(larger.shape[1:], self.seeds, self.subseeds, self.subseed_strength)
        noise = self.rng.next()
        devices.torch_gc()
        self.activate_extra_networks(self.hr_extra_network_data)
        with devices.autocast():
            self.calculate_hr_conds()
        call_hook(self, "before_hr")
        conds = {"c": self.hr_c, "uc": self.hr_uc}
        call_hook(self, "process_before_every_sampling", x=larger, noise=noise, **conds)
        latents = self.sampler.sample_img2img(
            self, larger, noise, *self.get_conds(), steps=self._second_steps, image_conditioning=image_conditioning
        )
        self.sampler = None
        devices.torch_gc()
        pictures = decode_latent_batch(self.sd_model, latents, target_device=devices.cpu, check_for_nans=True)
        self.is_hr_pass = False
        return pictures

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
        for name in ("prompt", "negative_prompt"):
            text = getattr(self, f"hr_{name}") or getattr(self, name)
            setattr(self, f"hr_{name}", text)
            every = text if isinstance(text, list) else [text] * (self.batch_size * self.n_iter)
            setattr(self, f"all_hr_{name}s", list(every))

    def calculate_hr_conds(self) -> None:
        """Encode the prompts of the second pass."""
        if self.hr_c is not None:
            return
        second = sd_samplers.calls_of_denoiser(self.hr_sampler_name or self.sampler_name, self._second_steps)
        caches = [self.cached_hr_c, self.cached_c], [self.cached_hr_uc, self.cached_uc]
        size = self.hr_upscale_to_x, self.hr_upscale_to_y
        self.hr_c, self.hr_uc = self._encoded("hr_", caches, *size, self.firstpass_steps, second)

    def setup_conds(self) -> None:
        if self.is_hr_pass:  # the refiner asks, in the middle of the second pass
            self.hr_c = None
            self.calculate_hr_conds()
            return
        super().setup_conds()
        self.hr_uc = self.hr_c = None
        same_checkpoint = self.hr_checkpoint_info is None
        if same_checkpoint and self.enable_hr:
            self._encode_second_pass_early()

    def _encode_second_pass_early(self) -> None:
        """Encode the second pass's prompts with the first's networks if wanted, or while the text encoder is near."""
        model, with_first = shared.sd_model, shared.opts.hires_fix_use_firstpass_conds
        if with_first:
            self.calculate_hr_conds()
        elif lowvram.is_enabled(model) and model.sd_checkpoint_info == sd_models.select_checkpoint():
            networks = self.hr_extra_network_data, self.extra_network_data
            with devices.autocast():
                extra_networks.activate(self, networks[0])
            self.calculate_hr_conds()
            with devices.autocast():
                extra_networks.activate(self, networks[1])

    def get_conds(self):
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()

    def parse_extra_network_prompts(self) -> None:
        super().parse_extra_network_prompts()
        if self.enable_hr:
            first = self.iteration * self.batch_size
            batch = slice(first, first + self.batch_size)
            self.hr_negative_prompts = self.all_hr_negative_prompts[batch]
            self.hr_prompts, self.hr_extra_network_data = extra_networks.parse_prompts(self.all_hr_prompts[batch])
