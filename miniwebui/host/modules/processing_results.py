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
    if index is None:
        index = iteration * p.batch_size + position_in_batch
    negatives = p.all_negative_prompts if all_negative_prompts is None else all_negative_prompts
    if use_main_prompt:
        index, seeds, subseeds, texts = 0, p.all_seeds, p.all_subseeds, (p.main_prompt, p.main_negative_prompt)
    else:
        seeds, subseeds, texts = all_seeds, all_subseeds, (all_prompts[index], negatives[index])
    params = _facts(p, seeds[index], subseeds[index])
    known = {
        "p": p, "all_prompts": all_prompts, "all_seeds": all_seeds, "all_subseeds": all_subseeds, "comments": comments,
        "iteration": iteration, "position_in_batch": position_in_batch, "use_main_prompt": use_main_prompt,
        "index": index, "all_negative_prompts": negatives, "prompt_text": texts[0], "negative_prompt": texts[1],
        "generation_params": params,
    }  # fmt: skip
    for key, value in params.items():
        try:
            params[key] = _resolved(value, index, known)
        except Exception:  # noqa: BLE001  (the function may be an extension's)
            errors.report(f'The value of "{key}" in the infotext could not be made', exc_info=True)
            params[key] = None
    listed = [k if k == v else f"{k}: {infotext_utils.quote(v)}" for k, v in params.items() if v is not None]
    negative = f"\nNegative prompt: {texts[1]}" if texts[1] else ""
    return f"{texts[0]}{negative}\n{', '.join(listed)}".strip()


def _facts(p, seed: int, subseed: int) -> dict:
    """Labels and values of the infotext in their order; a value of None is left out."""
    opts, noted = shared.opts, p.extra_generation_params
    ensd = opts.eta_noise_seed_delta
    strength = p.subseed_strength or None
    last_layers = getattr(p, "clip_skip", opts.CLIP_stop_at_last_layers)
    pairs = [
        ("Steps", p.steps), ("Sampler", p.sampler_name), ("Schedule type", p.scheduler), ("CFG scale", p.cfg_scale),
        ("Image CFG scale", getattr(p, "image_cfg_scale", None)), ("Seed", seed), ("Size", f"{p.width}x{p.height}"),
        ("Model hash", (opts.add_model_hash_to_info and p.sd_model_hash) or None),
        ("Model", (opts.add_model_name_to_info and p.sd_model_name) or None),
        ("Variation seed", strength and subseed), ("Variation seed strength", strength),
        ("Denoising strength", noted.get("Denoising strength")),
        ("Clip skip", last_layers if last_layers > 1 else None),
        ("ENSD", ensd if ensd and sd_samplers_common.is_sampler_using_eta_noise_seed_delta(p) else None),
        ("Init image hash", getattr(p, "init_img_hash", None)),
        ("RNG", {"GPU": None}.get(opts.randn_source, opts.randn_source)),
        *noted.items(),
        ("Version", (opts.add_version_to_infotext and program_version()) or None),
    ]  # fmt: skip
    return dict(pairs)


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
    "is_using_inpainting_conditioning", "image_cfg_scale", "denoising_strength",
)  # fmt: skip
_JSON = (
    "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds", "subseed", "all_subseeds",
    "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size", "restore_faces",
    "face_restoration_model", "sd_model_name", "sd_model_hash", "sd_vae_name", "sd_vae_hash", "seed_resize_from_w",
    "seed_resize_from_h", "denoising_strength", "extra_generation_params", "index_of_first_image", "infotexts",
    "styles", "job_timestamp", "clip_skip", "is_using_inpainting_conditioning", "version",
)  # fmt: skip


class Processed:
    """The result of a request."""

    def __init__(
        self, p, images_list, seed=-1, info="", subseed=None, all_prompts=None, all_negative_prompts=None,
        all_seeds=None, all_subseeds=None, index_of_first_image=0, infotexts=None, comments="",
    ):  # fmt: skip
        vars(self).update((name, getattr(p, name, None)) for name in _SAME)
        self.images, self.info, self.index_of_first_image = images_list, info, index_of_first_image
        self.infotexts = infotexts or [info for _ in images_list]
        self.comments = "".join(f"{text}\n" for text in p.comments)
        self.version, self.job_timestamp = program_version(), shared.state.job_timestamp
        self.clip_skip, self.face_restoration_model = shared.opts.CLIP_stop_at_last_layers, None
        given = {
            "prompt": (p.prompt, all_prompts), "negative_prompt": (p.negative_prompt, all_negative_prompts),
            "seed": (-1 if seed is None else seed, all_seeds),
            "subseed": (-1 if subseed is None else subseed, all_subseeds),
        }  # fmt: skip
        for name, (value, listed) in given.items():
            one = value[0] if isinstance(value, list) else value
            one = int(one) if name.endswith("seed") else one
            setattr(self, name, one)
            setattr(self, f"all_{name}s", listed or getattr(p, f"all_{name}s") or [one])

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


class DecodedSamples(list):
    """Decoded pictures, (3, h, w) in -1..1 each."""

    already_decoded = True


def decode_latent_batch(model, batch, target_device=None, check_for_nans=False) -> DecodedSamples:
    """Latents to pictures, one by one (the autoencoder needs much memory)."""

    def checked(x, where: str):
        if check_for_nans:
            devices.test_for_nans(x, where)
        return x

    decode = sd_samplers_common.decode_first_stage
    pictures = (checked(decode(model, latent[None])[0], "vae") for latent in checked(batch, "unet"))
    return DecodedSamples(x if target_device is None else x.to(target_device) for x in pictures)
