"""What comes out of a request: pictures, infotext, and the JSON of the API."""

from __future__ import annotations

import inspect
import json

from modules import devices, errors, infotext_utils, sd_samplers_common, shared


def program_version() -> str | None:
    """The host's version, for the infotext."""
    import launch

    tag = launch.git_tag()
    return None if tag == "<none>" else tag


def create_infotext(
    p,
    all_prompts,
    all_seeds,
    all_subseeds,
    comments=None,
    iteration=0,
    position_in_batch=0,
    use_main_prompt=False,
    index=None,
    all_negative_prompts=None,
) -> str:
    """The text that describes picture ``index`` of a request and can be pasted back.

    A value of ``p.extra_generation_params`` may be a list (one entry per picture of the request) or a function of this
    function's arguments, which answers the text or None.
    """
    opts = shared.opts
    if use_main_prompt:
        index = 0
    elif index is None:
        index = position_in_batch + iteration * p.batch_size
    if all_negative_prompts is None:
        all_negative_prompts = p.all_negative_prompts
    prompt_text = p.main_prompt if use_main_prompt else all_prompts[index]
    negative_prompt = p.main_negative_prompt if use_main_prompt else all_negative_prompts[index]
    seeds, subseeds = (p.all_seeds, p.all_subseeds) if use_main_prompt else (all_seeds, all_subseeds)
    delta = opts.eta_noise_seed_delta
    uses_delta = delta != 0 and sd_samplers_common.is_sampler_using_eta_noise_seed_delta(p)
    resized = p.seed_resize_from_w > 0 and p.seed_resize_from_h > 0
    clip_skip = getattr(p, "clip_skip", opts.CLIP_stop_at_last_layers)

    params = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler,
        "CFG scale": p.cfg_scale,
        "Image CFG scale": getattr(p, "image_cfg_scale", None),
        "Seed": seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model hash": p.sd_model_hash if opts.add_model_hash_to_info else None,
        "Model": p.sd_model_name if opts.add_model_name_to_info else None,
        "Variation seed": subseeds[index] if p.subseed_strength else None,
        "Variation seed strength": p.subseed_strength or None,
        "Seed resize from": f"{p.seed_resize_from_w}x{p.seed_resize_from_h}" if resized else None,
        "Denoising strength": p.extra_generation_params.get("Denoising strength"),
        "Clip skip": clip_skip if clip_skip > 1 else None,
        "ENSD": delta if uses_delta else None,
        "Init image hash": getattr(p, "init_img_hash", None),
        "RNG": opts.randn_source if opts.randn_source != "GPU" else None,
        **p.extra_generation_params,
        "Version": program_version() if opts.add_version_to_infotext else None,
        "User": p.user if getattr(opts, "add_user_name_to_info", False) else None,
    }
    known = {
        "p": p, "all_prompts": all_prompts, "all_seeds": all_seeds, "all_subseeds": all_subseeds, "comments": comments,
        "iteration": iteration, "position_in_batch": position_in_batch, "use_main_prompt": use_main_prompt,
        "index": index, "all_negative_prompts": all_negative_prompts, "prompt_text": prompt_text,
        "negative_prompt": negative_prompt, "generation_params": params,
    }  # fmt: skip
    for key, value in params.items():
        try:
            params[key] = _resolved(value, index, known)
        except Exception:  # noqa: BLE001  (the function may be an extension's)
            errors.report(f'Error creating infotext for key "{key}"', exc_info=True)
            params[key] = None
    listed = [k if k == v else f"{k}: {infotext_utils.quote(v)}" for k, v in params.items() if v is not None]
    negative = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt_text}{negative}\n{', '.join(listed)}".strip()


def _resolved(value, index: int, known: dict):
    if isinstance(value, list):
        return value[index]
    if callable(value):
        wanted = inspect.signature(value).parameters
        all_names = any(x.kind is x.VAR_KEYWORD for x in wanted.values())
        return value(**{k: v for k, v in known.items() if all_names or k in wanted})
    return value


# attributes of a request that its result carries too
_SAME = (
    "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size", "restore_faces",
    "sd_model_name", "sd_model_hash", "sd_vae_name", "sd_vae_hash", "seed_resize_from_w", "seed_resize_from_h",
    "extra_generation_params", "styles", "token_merging_ratio", "token_merging_ratio_hr", "eta", "ddim_discretize",
    "s_churn", "s_tmin", "s_tmax", "s_noise", "s_min_uncond", "sampler_noise_scheduler_override",
    "is_using_inpainting_conditioning",
)  # fmt: skip
_JSON = (
    "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds", "subseed", "all_subseeds",
    "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size", "restore_faces",
    "face_restoration_model", "sd_model_name", "sd_model_hash", "sd_vae_name", "sd_vae_hash", "seed_resize_from_w",
    "seed_resize_from_h", "denoising_strength", "extra_generation_params", "index_of_first_image", "infotexts",
    "styles", "job_timestamp", "clip_skip", "is_using_inpainting_conditioning", "version",
)  # fmt: skip


def _first(value):
    return value[0] if isinstance(value, list) else value


class Processed:
    """The result of a request."""

    def __init__(
        self, p, images_list, seed=-1, info="", subseed=None, all_prompts=None, all_negative_prompts=None,
        all_seeds=None, all_subseeds=None, index_of_first_image=0, infotexts=None, comments="",
    ):  # fmt: skip
        for name in _SAME:
            setattr(self, name, getattr(p, name))
        self.images = images_list
        self.info = info
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.prompt, self.negative_prompt = _first(p.prompt), _first(p.negative_prompt)
        self.seed = int(_first(seed)) if seed is not None else -1
        self.subseed = int(_first(subseed)) if subseed is not None else -1
        self.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.denoising_strength = getattr(p, "denoising_strength", None)
        self.face_restoration_model = None
        self.index_of_first_image = index_of_first_image
        self.job_timestamp = shared.state.job_timestamp
        self.clip_skip = shared.opts.CLIP_stop_at_last_layers
        self.all_prompts = all_prompts or p.all_prompts or [self.prompt]
        self.all_negative_prompts = all_negative_prompts or p.all_negative_prompts or [self.negative_prompt]
        self.all_seeds = all_seeds or p.all_seeds or [self.seed]
        self.all_subseeds = all_subseeds or p.all_subseeds or [self.subseed]
        self.infotexts = infotexts or [info] * len(images_list)
        self.version = program_version()

    def js(self) -> str:
        """The ``info`` of the API; what JSON cannot hold becomes null."""
        values = {name: getattr(self, name) for name in _JSON}
        values["prompt"], values["negative_prompt"] = self.all_prompts[0], self.all_negative_prompts[0]
        return json.dumps(values, default=lambda _: None)

    def infotext(self, p, index: int) -> str:
        """The infotext of picture ``index``."""
        return create_infotext(
            p,
            self.all_prompts,
            self.all_seeds,
            self.all_subseeds,
            comments=[],
            position_in_batch=index % self.batch_size,
            iteration=index // self.batch_size,
        )

    def get_token_merging_ratio(self, for_hr: bool = False) -> float:
        """Token merging is not part of this host."""
        return self.token_merging_ratio_hr if for_hr else self.token_merging_ratio


class DecodedSamples(list):
    """Decoded pictures, (3, h, w) in -1..1 each."""

    already_decoded = True


def decode_latent_batch(model, batch, target_device=None, check_for_nans=False) -> DecodedSamples:
    """Latents to pictures, one by one (the autoencoder needs much memory)."""
    if check_for_nans:
        devices.test_for_nans(batch, "unet")
    samples = DecodedSamples()
    for latent in batch:
        picture = sd_samplers_common.decode_first_stage(model, latent[None])[0]
        if check_for_nans:
            devices.test_for_nans(picture, "vae")
        samples.append(picture if target_device is None else picture.to(target_device))
    return samples
