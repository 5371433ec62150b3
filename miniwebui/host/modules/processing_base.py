"""The request that is being worked on: what txt2img and img2img have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from modules import devices, extra_networks, prompt_parser, rng, sd_samplers, sd_samplers_common, shared

opt_C = 4  # noqa: N816  (channels of a latent)
opt_f = 8  # pixels per latent pixel


def latent_size(width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of the latent of a picture."""
    return height // opt_f, width // opt_f


@dataclass(repr=False)
class StableDiffusionProcessing:
    """Parameters and state of one request; extensions read and change them in their hooks."""

    sd_model: object
    outpath_samples: str = None
    outpath_grids: str = None
    prompt: str = ""
    prompt_for_display: str = None
    negative_prompt: str = ""
    styles: list[str] = None
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    seed_resize_from_h: int = -1
    seed_resize_from_w: int = -1
    seed_enable_extras: bool = True
    sampler_name: str = None
    scheduler: str = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    restore_faces: bool = None
    tiling: bool = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: dict[str, Any] = None
    overlay_images: list = None
    eta: float = None
    do_not_reload_embeddings: bool = False
    denoising_strength: float = None
    ddim_discretize: str = None
    s_min_uncond: float = None
    s_churn: float = None
    s_tmax: float = None
    s_tmin: float = None
    s_noise: float = None
    override_settings: dict[str, Any] = None
    override_settings_restore_afterwards: bool = True
    sampler_index: int = None
    refiner_checkpoint: str = None
    refiner_switch_at: float = None
    token_merging_ratio = 0
    token_merging_ratio_hr = 0
    disable_extra_networks: bool = False
    firstpass_image: Image.Image = None

    scripts_value: Any = field(default=None, init=False)
    script_args_value: list = field(default=None, init=False)
    scripts_setup_complete: bool = field(default=False, init=False)
    comments: dict = field(default_factory=dict, init=False)
    sampler: sd_samplers_common.Sampler | None = field(default=None, init=False)
    is_using_inpainting_conditioning: bool = field(default=False, init=False)
    paste_to: tuple | None = field(default=None, init=False)
    is_hr_pass: bool = field(default=False, init=False)
    c: Any = field(default=None, init=False)
    uc: Any = field(default=None, init=False)
    rng: rng.ImageRNG | None = field(default=None, init=False)
    step_multiplier: int = field(default=1, init=False)
    color_corrections: list = field(default=None, init=False)
    all_prompts: list = field(default=None, init=False)
    all_negative_prompts: list = field(default=None, init=False)
    all_seeds: list = field(default=None, init=False)
    all_subseeds: list = field(default=None, init=False)
    iteration: int = field(default=0, init=False)
    main_prompt: str = field(default=None, init=False)
    main_negative_prompt: str = field(default=None, init=False)
    prompts: list = field(default=None, init=False)
    negative_prompts: list = field(default=None, init=False)
    seeds: list = field(default=None, init=False)
    subseeds: list = field(default=None, init=False)
    extra_network_data: dict = field(default=None, init=False)
    user: str = field(default=None, init=False)
    sd_model_name: str = field(default=None, init=False)
    sd_model_hash: str = field(default=None, init=False)
    sd_vae_name: str = field(default=None, init=False)
    sd_vae_hash: str = field(default=None, init=False)
    is_api: bool = field(default=False, init=False)

    # (what was asked, the conds), kept from request to request
    cached_uc = [None, None]
    cached_c = [None, None]

    def __post_init__(self):
        self.styles = self.styles or []
        self.extra_generation_params = self.extra_generation_params or {}
        self.override_settings = self.override_settings or {}
        self.script_args = self.script_args or {}
        self.sampler_noise_scheduler_override = None
        self.refiner_checkpoint_info = None
        if not self.seed_enable_extras:
            self.subseed = -1
            self.subseed_strength = self.seed_resize_from_h = self.seed_resize_from_w = 0

    def fill_fields_from_opts(self) -> None:
        """Sampler parameters that the request leaves open come from the settings."""
        for name in ("s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(shared.opts, name))
        self.s_tmax = self.s_tmax or float("inf")

    @property
    def sd_model(self):
        return shared.sd_model

    @sd_model.setter
    def sd_model(self, value):
        """The model is the host's; a request cannot bring its own."""

    @property
    def scripts(self):
        return self.scripts_value

    @scripts.setter
    def scripts(self, value):
        self.scripts_value = value
        self._setup_scripts_once()

    @property
    def script_args(self):
        return self.script_args_value

    @script_args.setter
    def script_args(self, value):
        self.script_args_value = value
        self._setup_scripts_once()

    def _setup_scripts_once(self) -> None:
        if self.scripts_value and self.script_args_value and not self.scripts_setup_complete:
            self.setup_scripts()

    def setup_scripts(self) -> None:
        """Call the scripts' ``setup`` hooks."""
        self.scripts_setup_complete = True
        self.scripts.setup_scrips(self, is_ui=not self.is_api)

    def comment(self, text: str) -> None:
        """A remark for the user, shown under the pictures."""
        self.comments[text] = 1

    def txt2img_image_conditioning(self, x: torch.Tensor, width=None, height=None) -> torch.Tensor:
        """A stand-in with one row per picture: this model takes no conditioning picture."""
        return x.new_zeros(x.shape[0], 5, 1, 1)

    def img2img_image_conditioning(self, source_image, latent_image, image_mask=None, round_image_mask=True):
        """As `txt2img_image_conditioning`."""
        return latent_image.new_zeros(latent_image.shape[0], 5, 1, 1)

    def init(self, all_prompts, all_seeds, all_subseeds) -> None:
        """Called once before the first batch."""

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        """The latents of one batch."""
        raise NotImplementedError

    def close(self) -> None:
        """Called when the request is done with, also after an error."""
        self.sampler = self.c = self.uc = None
        if not shared.opts.persistent_cond_cache:
            self._forget_conds()

    def _forget_conds(self) -> None:
        for cache in (self.cached_c, self.cached_uc):
            cache[:] = [None, None]

    def get_token_merging_ratio(self, for_hr: bool = False) -> float:
        """Token merging is not part of this host."""
        return 0

    def setup_prompts(self) -> None:
        """One prompt and one negative prompt per picture of the whole request."""
        self.all_prompts = self._per_picture(self.prompt, self.negative_prompt)
        self.all_negative_prompts = self._per_picture(self.negative_prompt, self.all_prompts)
        if len(self.all_prompts) != len(self.all_negative_prompts):
            raise RuntimeError(
                f"There are {len(self.all_prompts)} prompts but {len(self.all_negative_prompts)} negative prompts."
            )
        styles = shared.prompt_styles
        self.all_prompts = [styles.apply_styles_to_prompt(x, self.styles) for x in self.all_prompts]
        self.all_negative_prompts = [
            styles.apply_negative_styles_to_prompt(x, self.styles) for x in self.all_negative_prompts
        ]
        self.main_prompt, self.main_negative_prompt = self.all_prompts[0], self.all_negative_prompts[0]

    def _per_picture(self, text, other) -> list[str]:
        """A list as it is; a single text as often as the other list is long, or as there are pictures."""
        if isinstance(text, list):
            return text
        return [text] * (len(other) if isinstance(other, list) else self.batch_size * self.n_iter)

    def cached_params(self, required_prompts, steps, extra_network_data, hires_steps=None, use_old_scheduling=False):
        """All that the conds depend on."""
        opts = shared.opts
        return (
            list(required_prompts), steps, hires_steps, use_old_scheduling, opts.CLIP_stop_at_last_layers,
            shared.sd_model.sd_checkpoint_info, extra_network_data, self.width, self.height, opts.emphasis,
            opts.comma_padding_backtrack,
        )  # fmt: skip

    def get_conds_with_caching(self, function, required_prompts, steps, caches, extra_network_data, hires_steps=None):
        """``function``'s conds, or those of the first cache that was filled for the same question."""
        old = shared.opts.use_old_scheduling
        if old:
            schedules = [
                prompt_parser.get_learned_conditioning_prompt_schedules(required_prompts, steps, hires_steps, x)
                for x in (False, True)
            ]
            if schedules[0] != schedules[1]:
                self.extra_generation_params["Old prompt editing timelines"] = True
        asked = self.cached_params(required_prompts, steps, extra_network_data, hires_steps, old)
        for cache in caches:
            if cache[0] is not None and cache[0] == asked:
                return cache[1]
        with devices.autocast():
            conds = function(shared.sd_model, required_prompts, steps, hires_steps, old)
        caches[0][:] = [asked, conds]
        return conds

    def setup_conds(self) -> None:
        """Encode the prompts of this batch."""
        size = {"width": self.width, "height": self.height}
        prompts = prompt_parser.SdConditioning(self.prompts, **size)
        negative = prompt_parser.SdConditioning(self.negative_prompts, is_negative_prompt=True, **size)
        config = sd_samplers.find_sampler_config(self.sampler_name)
        total = config.total_steps(self.steps) if config else self.steps
        self.step_multiplier = total // self.steps
        self.firstpass_steps = total
        single, several = prompt_parser.get_learned_conditioning, prompt_parser.get_multicond_learned_conditioning
        data = self.extra_network_data
        self.uc = self.get_conds_with_caching(single, negative, total, [self.cached_uc], data)
        self.c = self.get_conds_with_caching(several, prompts, total, [self.cached_c], data)

    def get_conds(self):
        """(cond, uncond) of the pass that is running."""
        return self.c, self.uc

    def parse_extra_network_prompts(self) -> None:
        """Take the mentions of extra networks out of this batch's prompts."""
        self.prompts, self.extra_network_data = extra_networks.parse_prompts(self.prompts)

    def save_samples(self) -> bool:
        """True if the pictures are to be written to disk."""
        whole = not (shared.state.interrupted or shared.state.skipped)
        wanted = shared.opts.samples_save and not self.do_not_save_samples
        return wanted and (whole or shared.opts.save_incomplete_images)
