"""The request that is being worked on: what txt2img and img2img have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from modules import devices, extra_networks, prompt_parser, sd_samplers, shared

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

    # what the host fills in while it works; no part of a request
    scripts_value = script_args_value = sampler = rng = None
    scripts_setup_complete = is_using_inpainting_conditioning = is_hr_pass = is_api = False
    sampler_noise_scheduler_override = refiner_checkpoint_info = paste_to = color_corrections = user = None
    main_prompt = all_prompts = prompts = main_negative_prompt = all_negative_prompts = negative_prompts = None
    all_seeds = seeds = all_subseeds = subseeds = extra_network_data = c = uc = None
    sd_model_name = sd_model_hash = sd_vae_name = sd_vae_hash = None
    iteration, step_multiplier = 0, 1

    # (what was asked, the conds), kept from request to request
    cached_uc = [None, None]
    cached_c = [None, None]

    def __post_init__(self):
        self.comments: dict = {}
        for name, empty in (("styles", list), ("extra_generation_params", dict), ("override_settings", dict)):
            if not getattr(self, name):
                setattr(self, name, empty())
        self.script_args = {}
        if self.seed_enable_extras is False:
            self.subseed, self.subseed_strength = -1, 0

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
        self._setup_scripts_once(scripts_value=value)

    @property
    def script_args(self):
        return self.script_args_value

    @script_args.setter
    def script_args(self, value):
        self._setup_scripts_once(script_args_value=value)

    def _setup_scripts_once(self, **known) -> None:
        """Take over the scripts or their arguments; the scripts are set up as soon as both are known."""
        vars(self).update(known)
        ready = bool(self.scripts and self.script_args)
        if ready and not self.scripts_setup_complete:
            self.setup_scripts()

    def setup_scripts(self) -> None:
        """Call the scripts' ``setup`` hooks."""
        in_page = not self.is_api
        self.scripts_setup_complete = True
        self.scripts.setup_scrips(self, is_ui=in_page)

    def comment(self, text: str) -> None:
        """A remark for the user, shown under the pictures."""
        self.comments[text] = 1

    def txt2img_image_conditioning(self, x: torch.Tensor, width=None, height=None) -> torch.Tensor:
        """A stand-in with one row per picture: this model takes no conditioning picture."""
        return x.new_zeros(len(x), 5, 1, 1)

    def img2img_image_conditioning(self, source_image, latent_image, image_mask=None, round_image_mask=True):
        """As `txt2img_image_conditioning`."""
        return self.txt2img_image_conditioning(latent_image)

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
        counts = len(self.all_prompts), len(self.all_negative_prompts)
        if counts[0] != counts[1]:
            raise RuntimeError(f"There are {counts[0]} prompts but {counts[1]} negative prompts.")
        self.main_prompt, self.main_negative_prompt = self.all_prompts[0], self.all_negative_prompts[0]

    def _per_picture(self, text, other) -> list[str]:
        """A list as it is; a single text as often as the other list is long, or as there are pictures."""
        if isinstance(text, list):
            return text
        return [text] * (len(other) if isinstance(other, list) else self.batch_size * self.n_iter)

    def _encode_once(self, encode, texts, caches, networks, first_steps: int, second_steps: int | None = None):
        """What ``encode`` makes of the texts; taken from a cache whose (question, answer) is about the same."""
        opts, old = shared.opts, shared.opts.use_old_scheduling
        if old:
            timelines = (
                prompt_parser.get_learned_conditioning_prompt_schedules(texts, first_steps, second_steps, kind)
                for kind in (False, True)
            )
            if next(timelines) != next(timelines):
                self.extra_generation_params.update({"Old prompt editing timelines": True})
        question = (
            [*texts], first_steps, second_steps, old, opts.CLIP_stop_at_last_layers, opts.emphasis,
            opts.comma_padding_backtrack, shared.sd_model.sd_checkpoint_info, networks, self.width, self.height,
        )  # fmt: skip
        answer = next((known for asked, known in caches if asked == question), None)
        if answer is None:
            with devices.autocast():
                answer = encode(shared.sd_model, texts, first_steps, second_steps, old)
            caches[0][:] = question, answer
        return answer

    def _encoded(self, prefix: str, caches, width: int, height: int, *steps: int | None):
        """(cond, uncond) of this batch's prompts; those of the second pass have the prefix ``hr_``.

        ``caches`` are the lists of caches of the two; ``steps`` the calls of the denoiser in the first pass and, if
        there is one, in the second.
        """
        conds = []
        for name, encode, known in zip(
            ("negative_prompts", "prompts"),
            (prompt_parser.get_learned_conditioning, prompt_parser.get_multicond_learned_conditioning),
            reversed(caches),
            strict=True,
        ):
            texts = prompt_parser.SdConditioning(
                getattr(self, prefix + name), is_negative_prompt=name != "prompts", width=width, height=height
            )
            networks = getattr(self, f"{prefix}extra_network_data")
            conds.append(self._encode_once(encode, texts, known, networks, *steps))
        return conds[1], conds[0]

    def setup_conds(self) -> None:
        """Encode the prompts of this batch."""
        self.firstpass_steps = sd_samplers.calls_of_denoiser(self.sampler_name, self.steps)
        self.step_multiplier = self.firstpass_steps // self.steps
        caches = [self.cached_c], [self.cached_uc]
        self.c, self.uc = self._encoded("", caches, self.width, self.height, self.firstpass_steps)

    def get_conds(self):
        """(cond, uncond) of the pass that is running."""
        return self.c, self.uc

    def parse_extra_network_prompts(self) -> None:
        """Take the mentions of extra networks out of this batch's prompts."""
        texts, mentioned = extra_networks.parse_prompts(self.prompts)
        self.prompts, self.extra_network_data = texts, mentioned

    def activate_extra_networks(self, mentioned) -> None:
        """Switch on the extra networks that prompts mention."""
        if self.disable_extra_networks:
            return
        with devices.autocast():
            extra_networks.activate(self, mentioned)

    def save_samples(self) -> bool:
        """True if the pictures are to be written to disk."""
        whole = not (shared.state.interrupted or shared.state.skipped)
        if self.do_not_save_samples or not shared.opts.samples_save:
            return False
        return whole or shared.opts.save_incomplete_images
