"""From a request to pictures: `process_images` and the order in which everything is called.

The hooks, their order and their arguments are A1111's. An error in a hook is reported by the script runner and goes no
further; an error in sampling or decoding ends the request.
"""

from __future__ import annotations

import random

import torch
from PIL import Image

from modules import devices, extra_networks, images, lowvram, rng, sd_models, sd_samplers, sd_unet, shared
from modules.masking import create_binary_mask  # noqa: F401
from modules.processing_base import StableDiffusionProcessing, opt_C, opt_f
from modules.processing_img2img import StableDiffusionProcessingImg2Img  # noqa: F401
from modules.processing_results import (  # noqa: F401
    DecodedSamples,
    Processed,
    create_infotext,
    decode_latent_batch,
    program_version,
)
from modules.processing_txt2img import StableDiffusionProcessingTxt2Img, to_image  # noqa: F401
from modules.script_base import (
    PostprocessBatchListArgs,
    PostprocessImageArgs,
    PostProcessMaskOverlayArgs,
    PostSampleArgs,
    call_hook,
)
from modules.sd_samplers_common import decode_first_stage, images_tensor_to_samples  # noqa: F401
from modules.shared import opts, state

_CHECKPOINT = "sd_model_checkpoint"


def get_fixed_seed(seed):
    """The seed; a random one for -1, nothing, or what is no number."""
    if isinstance(seed, str):
        try:
            seed = int(seed)
        except ValueError:
            seed = -1
    return random.randrange(4294967294) if seed is None or seed == -1 else seed


def fix_seed(p) -> None:
    """Settle the seeds of a request."""
    p.seed, p.subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)


def process_images(p: StableDiffusionProcessing) -> Processed:
    """Do a request. Settings it overrides hold while it runs."""
    call_hook(p, "before_process")
    # a setting that was never saved is not put back: A1111's behaviour
    restored = p.override_settings if p.override_settings_restore_afterwards else ()
    before = [(key, opts.data[key]) for key in restored if key in opts.data]
    try:
        _override_settings(p)
        p.sampler_name, p.scheduler = sd_samplers.known_names(p.sampler_name, p.scheduler)
        return process_images_inner(p)
    finally:
        for changed in before:
            setattr(opts, *changed)


def _override_settings(p) -> None:
    """Put the request's settings in force; a checkpoint that nobody knows is no wish at all."""
    if p.override_settings.get(_CHECKPOINT) not in sd_models.checkpoint_aliases:
        p.override_settings.pop(_CHECKPOINT, None)
    for wish in p.override_settings.items():
        opts.set(*wish, is_api=True, run_callbacks=False)
    sd_models.reload_model_weights()


def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    """Do a request whose settings are in force."""
    if p.prompt is None or p.prompt == []:
        raise ValueError("The request has no prompt.")
    return _Run(p).result()


class _Run:
    """One request on its way: the pictures and infotexts so far, and what is still to do."""

    def __init__(self, p: StableDiffusionProcessing) -> None:
        self.p = p
        self.pictures: list[Image.Image] = []
        self.texts: list[str] = []

    def result(self) -> Processed:
        """Everything, from the first hook to the last."""
        p = self.p
        self._settle()
        call_hook(p, "process")
        with torch.no_grad():
            self._paint_all()
            grids = self._add_grid()
        networks = None if p.disable_extra_networks else p.extra_network_data
        if networks:
            extra_networks.deactivate(p, networks)
        devices.torch_gc()
        made = Processed(
            p, self.pictures, p.all_seeds[0], self.texts[0], p.all_subseeds[0],
            index_of_first_image=grids, infotexts=self.texts,
        )  # fmt: skip
        call_hook(p, "postprocess", made)
        return made

    def _settle(self) -> None:
        """Fill in what the request leaves open."""
        p, model = self.p, shared.sd_model
        devices.torch_gc()
        seed, subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)
        p.restore_faces, p.tiling = bool(p.restore_faces), bool(p.tiling)
        refiner = p.refiner_checkpoint or "None"
        if refiner.lower() != "none":
            p.refiner_checkpoint_info = sd_models.checkpoint_named(refiner)
        if model is None:
            raise RuntimeError("No model is loaded; the server's output says why.")
        p.sd_model_name, p.sd_model_hash = model.sd_checkpoint_info.name_for_extra, model.sd_model_hash
        p.fill_fields_from_opts()
        p.setup_prompts()
        # a variation keeps its seed and counts its subseed up
        p.all_seeds = self._counted(seed, 1 if p.subseed_strength == 0 else 0)
        p.all_subseeds = self._counted(subseed, 1)

    def _counted(self, seed, stride: int) -> list[int]:
        """One seed per picture of the request; a list is taken as it is."""
        return seed if isinstance(seed, list) else [int(seed) + i * stride for i in range(len(self.p.all_prompts))]

    def _paint_all(self) -> None:
        p = self.p
        with devices.autocast():
            p.init(all_prompts=p.all_prompts, all_seeds=p.all_seeds, all_subseeds=p.all_subseeds)
            sd_unet.apply_unet()
        if state.job_count == -1:
            state.job_count = p.n_iter
        for n in range(p.n_iter):
            p.iteration, state.skipped = n, False
            painted = None if state.interrupted or state.stopping_generation else self._paint_batch()
            if painted is None:
                break
            for i, picture in enumerate(painted):
                p.batch_index = i
                self._finish(i, picture)
            devices.torch_gc()
        if not self.texts:
            self.texts = [Processed(p, []).infotext(p, 0)]

    def _cut_batch(self, *names: str) -> None:
        """Give the batch its part of what the whole request has."""
        p = self.p
        start = p.iteration * p.batch_size
        for name in names:
            setattr(p, name, getattr(p, f"all_{name}")[start : start + p.batch_size])

    def _batch_hook(self, hook: str, *args, **kwargs) -> None:
        call_hook(self.p, hook, *args, batch_number=self.p.iteration, **kwargs)

    def _prompts_hook(self, hook: str) -> None:
        self._batch_hook(hook, **{name: getattr(self.p, name) for name in ("prompts", "seeds", "subseeds")})

    def _paint_batch(self) -> list[torch.Tensor] | None:
        """Sample and decode one batch: (3, h, w) in 0..1 each; None if a script left no prompts."""
        p = self.p
        sd_models.reload_model_weights()  # the refiner of the batch before may have left another
        self._cut_batch("prompts", "negative_prompts", "seeds", "subseeds")
        latent_shape = (opt_C, p.height // opt_f, p.width // opt_f)
        p.rng = rng.ImageRNG(latent_shape, p.seeds, p.subseeds, p.subseed_strength)
        self._prompts_hook("before_process_batch")
        if not p.prompts:
            return None
        p.parse_extra_network_prompts()
        p.activate_extra_networks(p.extra_network_data)
        self._prompts_hook("process_batch")
        p.setup_conds()
        texts = "".join([*p.prompts, *p.negative_prompts])
        if opts.emphasis != "Original" and ("(" in texts or "[" in texts):
            p.extra_generation_params["Emphasis"] = opts.emphasis
        if p.n_iter > 1:
            state.job = f"Batch {p.iteration + 1} out of {p.n_iter}"
        sd_models.apply_alpha_schedule_override(shared.sd_model, p)
        sampled = PostSampleArgs(self._sample())
        call_hook(p, "post_sample", sampled)
        decoded = sampled.samples
        if not getattr(decoded, "already_decoded", False):
            decoded = decode_latent_batch(p.sd_model, decoded, target_device=devices.cpu, check_for_nans=True)
        pictures = torch.stack(list(decoded)).float().add(1.0).div(2.0).clamp(0.0, 1.0)
        lowvram.rest(shared.sd_model)
        devices.torch_gc()
        state.nextjob()
        self._batch_hook("postprocess_batch", images=pictures)
        listed = PostprocessBatchListArgs(list(pictures))
        if p.scripts is not None:
            self._cut_batch("prompts", "negative_prompts")
            self._batch_hook("postprocess_batch_list", listed)
        return listed.images

    def _sample(self):
        p = self.p
        precision = devices.without_autocast if devices.unet_needs_upcast else devices.autocast
        with precision():
            return p.sample(p.c, p.uc, p.seeds, p.subseeds, p.subseed_strength, p.prompts)

    def _finish(self, i: int, picture: torch.Tensor) -> None:
        """Hooks, overlay and saving of picture ``i`` of a batch."""
        p = self.p
        image = PostprocessImageArgs(to_image(picture))
        call_hook(p, "postprocess_image", image)
        overlays = (opts.overlay_inpaint and p.overlay_images) or []
        over = PostProcessMaskOverlayArgs(
            i, getattr(p, "mask_for_overlay", None), overlays[i] if i < len(overlays) else None
        )
        call_hook(p, "postprocess_maskoverlay", over)
        composed = PostprocessImageArgs(None)
        composed.image, bare = laid_under(over.overlay_image, image.image, p.paste_to)
        call_hook(p, "postprocess_image_after_composite", composed)
        text = create_infotext(p, p.prompts, p.seeds, p.subseeds, index=i, all_negative_prompts=p.negative_prompts)
        if opts.enable_pnginfo:
            composed.image.info["parameters"] = text
        self._keep(i, composed.image, text, save=True, answer=True)
        self.texts.append(text)
        mask = over.mask_for_overlay
        if mask is None:
            return
        save, answer = opts.save_mask, opts.return_mask
        if answer or (save and p.save_samples()):
            self._keep(i, mask.convert("RGB"), text, save, answer, suffix="-mask")
        save, answer = opts.save_mask_composite, opts.return_mask_composite
        if answer or (save and p.save_samples()):
            self._keep(i, cut_out(bare, mask), text, save, answer, suffix="-mask-composite")

    def _keep(self, i: int, image: Image.Image, text: str, save: bool, answer: bool, suffix: str = "") -> None:
        """Write a picture to disk if the request's pictures are saved, and put it into the answer."""
        p = self.p
        if save and p.save_samples():
            images.save_image(
                image, p.outpath_samples, "", p.seeds[i], p.prompts[i], opts.samples_format, text, p=p, suffix=suffix
            )
        if answer:
            self.pictures.append(image)

    def _add_grid(self) -> int:
        """Put a grid in front if one is wanted; answers the index of the first picture that is none."""
        p = self.p
        needed = 2 if opts.grid_only_if_multiple else 1
        if p.do_not_save_grid or len(self.pictures) < needed or not (opts.return_grid or opts.grid_save):
            return 0
        text = create_infotext(p, p.prompts, p.seeds, p.subseeds, use_main_prompt=True)
        whole = images.image_grid(self.pictures, p.batch_size)
        if opts.return_grid and opts.enable_pnginfo:
            whole.info["parameters"] = text
        if opts.grid_save:
            images.save_image(
                whole, p.outpath_grids, "grid", p.all_seeds[0], p.all_prompts[0], opts.grid_format, text,
                not opts.grid_extended_filename, grid=True, p=p,
            )  # fmt: skip
        if opts.return_grid:
            self.texts.insert(0, text)
            self.pictures.insert(0, whole)
        return int(opts.return_grid)


def laid_under(overlay: Image.Image | None, image: Image.Image, place) -> tuple[Image.Image, Image.Image]:
    """(the picture under what inpainting keeps, the picture without it); ``place`` is (x, y, w, h) on the overlay."""
    if overlay is None:
        return image, image.copy()
    if place is not None:
        x, y, *size = place
        part, image = image, Image.new("RGBA", overlay.size)
        image.paste(images.resize_image(1, part, *size), (x, y))
    under = image.convert("RGBA")
    under.alpha_composite(overlay)
    return under.convert("RGB"), image


def cut_out(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The part of a picture that the mask covers, on a transparent ground."""
    stencil = images.resize_image(2, mask, *image.size).convert("L")
    ground = Image.new("RGBa", image.size)
    return Image.composite(image.convert("RGBA").convert("RGBa"), ground, stencil).convert("RGBA")
