"""From a request to pictures: `process_images` and the order in which everything is called.

The hooks, their order and their arguments are A1111's. An error in a hook is reported by the script runner and goes no
further; an error in sampling or decoding ends the request.
"""

from __future__ import annotations

import os
import random

import torch
from PIL import Image

from modules import (
    devices,
    extra_networks,
    images,
    lowvram,
    paths,
    rng,
    scripts,
    sd_models,
    sd_samplers,
    sd_unet,
    shared,
)
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
from modules.processing_txt2img import (  # noqa: F401
    StableDiffusionProcessingTxt2Img,
    old_hires_fix_first_pass_dimensions,
    to_image,
)
from modules.rng import slerp  # noqa: F401
from modules.sd_samplers_common import decode_first_stage, images_tensor_to_samples  # noqa: F401
from modules.shared import cmd_opts, opts, state


def create_random_tensors(
    shape, seeds, subseeds=None, subseed_strength=0.0, seed_resize_from_h=0, seed_resize_from_w=0, p=None
):
    """The starting noise of seeds."""
    return rng.ImageRNG(shape, seeds, subseeds, subseed_strength, seed_resize_from_h, seed_resize_from_w).next()


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


def uncrop(image: Image.Image, dest_size: tuple[int, int], paste_loc) -> Image.Image:
    """A worked-on part put back to its place on a transparent canvas."""
    x, y, w, h = paste_loc
    canvas = Image.new("RGBA", dest_size)
    canvas.paste(images.resize_image(1, image, w, h), (x, y))
    return canvas


def apply_overlay(image: Image.Image, paste_loc, overlay) -> tuple[Image.Image, Image.Image]:
    """(the picture under what inpainting keeps, the picture without it)."""
    if overlay is None:
        return image, image.copy()
    if paste_loc is not None:
        image = uncrop(image, overlay.size, paste_loc)
    original = image.copy()
    image = image.convert("RGBA")
    image.alpha_composite(overlay)
    return image.convert("RGB"), original


def process_images(p: StableDiffusionProcessing) -> Processed:
    """Do a request. Settings it overrides hold while it runs."""
    if p.scripts is not None:
        p.scripts.before_process(p)
    # a setting that was never saved is not put back: A1111's behaviour
    stored = {k: opts.data[k] for k in p.override_settings if k in opts.data}
    try:
        if p.override_settings.get("sd_model_checkpoint") not in sd_models.checkpoint_aliases:
            p.override_settings.pop("sd_model_checkpoint", None)
            sd_models.reload_model_weights()
        for key, value in p.override_settings.items():
            opts.set(key, value, is_api=True, run_callbacks=False)
            if key == "sd_model_checkpoint":
                sd_models.reload_model_weights()
        sd_samplers.fix_p_invalid_sampler_and_scheduler(p)
        return process_images_inner(p)
    finally:
        if p.override_settings_restore_afterwards:
            for key, value in stored.items():
                setattr(opts, key, value)


def _begin(p) -> None:
    """Fill in what the request leaves open."""
    devices.torch_gc()
    seed, subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)
    p.restore_faces, p.tiling = bool(p.restore_faces), bool(p.tiling)
    if p.refiner_checkpoint not in (None, "", "None", "none"):
        p.refiner_checkpoint_info = sd_models.get_closet_checkpoint_match(p.refiner_checkpoint)
        if p.refiner_checkpoint_info is None:
            raise ValueError(f"Could not find checkpoint with name {p.refiner_checkpoint}")
    if shared.sd_model is None:
        raise RuntimeError("No model is loaded; the server's output says why.")
    p.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
    p.sd_model_hash = shared.sd_model.sd_model_hash
    p.fill_fields_from_opts()
    p.setup_prompts()
    count = range(len(p.all_prompts))
    same = p.subseed_strength != 0  # a variation keeps its seed and counts its subseed up
    p.all_seeds = seed if isinstance(seed, list) else [int(seed) + (0 if same else i) for i in count]
    p.all_subseeds = subseed if isinstance(subseed, list) else [int(subseed) + i for i in count]


def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    """Do a request whose settings are in force."""
    if not p.prompt and p.prompt != "":
        raise ValueError("The request has no prompt.")
    _begin(p)
    if p.scripts is not None:
        p.scripts.process(p)

    output_images: list[Image.Image] = []
    infotexts: list[str] = []
    with torch.no_grad(), p.sd_model.ema_scope():
        with devices.autocast():
            p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
            sd_unet.apply_unet()
        if state.job_count == -1:
            state.job_count = p.n_iter
        for n in range(p.n_iter):
            p.iteration = n
            state.skipped = False
            if state.interrupted or state.stopping_generation:
                break
            pictures = _one_batch(p, n)
            if pictures is None:
                break
            for i, picture in enumerate(pictures):
                p.batch_index = i
                infotexts += _finish_picture(p, i, picture, output_images)
            devices.torch_gc()
        if not infotexts:
            infotexts.append(Processed(p, []).infotext(p, 0))
        p.color_corrections = None
        index_of_first_image = _add_grid(p, output_images, infotexts)

    if not p.disable_extra_networks and p.extra_network_data:
        extra_networks.deactivate(p, p.extra_network_data)
    devices.torch_gc()
    result = Processed(
        p,
        images_list=output_images,
        seed=p.all_seeds[0],
        info=infotexts[0],
        subseed=p.all_subseeds[0],
        index_of_first_image=index_of_first_image,
        infotexts=infotexts,
    )
    if p.scripts is not None:
        p.scripts.postprocess(p, result)
    return result


def _batch_slices(p, n: int) -> None:
    part = slice(n * p.batch_size, (n + 1) * p.batch_size)
    p.prompts, p.negative_prompts = p.all_prompts[part], p.all_negative_prompts[part]
    p.seeds, p.subseeds = p.all_seeds[part], p.all_subseeds[part]


def _one_batch(p, n: int) -> list[torch.Tensor] | None:
    """Sample and decode one batch: (3, h, w) in 0..1 each; None if there is nothing to do."""
    sd_models.reload_model_weights()  # the refiner of the batch before may have left another
    _batch_slices(p, n)
    p.rng = rng.ImageRNG(
        (opt_C, p.height // opt_f, p.width // opt_f),
        p.seeds,
        subseeds=p.subseeds,
        subseed_strength=p.subseed_strength,
        seed_resize_from_h=p.seed_resize_from_h,
        seed_resize_from_w=p.seed_resize_from_w,
    )
    if p.scripts is not None:
        p.scripts.before_process_batch(p, batch_number=n, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)
    if not p.prompts:
        return None
    p.parse_extra_network_prompts()
    if not p.disable_extra_networks:
        with devices.autocast():
            extra_networks.activate(p, p.extra_network_data)
    if p.scripts is not None:
        p.scripts.process_batch(p, batch_number=n, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)
    p.setup_conds()
    if opts.emphasis != "Original" and any(x in text for text in p.prompts + p.negative_prompts for x in "(["):
        p.extra_generation_params["Emphasis"] = opts.emphasis
    if n == 0 and not cmd_opts.no_prompt_history:
        # after the scripts' hooks: they may change what the infotext says
        with open(os.path.join(paths.data_path, "params.txt"), "w", encoding="utf-8") as file:
            file.write(Processed(p, []).infotext(p, 0))
    if p.n_iter > 1:
        state.job = f"Batch {n + 1} out of {p.n_iter}"
    sd_models.apply_alpha_schedule_override(p.sd_model, p)
    with devices.without_autocast() if devices.unet_needs_upcast else devices.autocast():
        samples = p.sample(
            conditioning=p.c,
            unconditional_conditioning=p.uc,
            seeds=p.seeds,
            subseeds=p.subseeds,
            subseed_strength=p.subseed_strength,
            prompts=p.prompts,
        )
    if p.scripts is not None:
        args = scripts.PostSampleArgs(samples)
        p.scripts.post_sample(p, args)
        samples = args.samples
    if not getattr(samples, "already_decoded", False):
        samples = decode_latent_batch(p.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
    pictures = ((torch.stack(list(samples)).float() + 1.0) / 2.0).clamp(0.0, 1.0)
    if lowvram.is_enabled(shared.sd_model):
        lowvram.send_everything_to_cpu()
    devices.torch_gc()
    state.nextjob()
    if p.scripts is None:
        return list(pictures)
    p.scripts.postprocess_batch(p, pictures, batch_number=n)
    part = slice(n * p.batch_size, (n + 1) * p.batch_size)
    p.prompts, p.negative_prompts = p.all_prompts[part], p.all_negative_prompts[part]
    args = scripts.PostprocessBatchListArgs(list(pictures))
    p.scripts.postprocess_batch_list(p, args, batch_number=n)
    return args.images


def _finish_picture(p, i: int, picture: torch.Tensor, output_images: list) -> list[str]:
    """Hooks, overlay and saving of picture ``i`` of a batch; adds to ``output_images`` and answers the infotext."""
    image = to_image(picture)
    mask = getattr(p, "mask_for_overlay", None)
    overlays = p.overlay_images if opts.overlay_inpaint and p.overlay_images else []
    overlay = overlays[i] if i < len(overlays) else None
    if p.scripts is not None:
        args = scripts.PostprocessImageArgs(image)
        p.scripts.postprocess_image(p, args)
        image = args.image
        args = scripts.PostProcessMaskOverlayArgs(i, mask, overlay)
        p.scripts.postprocess_maskoverlay(p, args)
        mask, overlay = args.mask_for_overlay, args.overlay_image
    image, original = apply_overlay(image, p.paste_to, overlay)
    if p.scripts is not None:
        args = scripts.PostprocessImageArgs(image)
        p.scripts.postprocess_image_after_composite(p, args)
        image = args.image

    text = create_infotext(p, p.prompts, p.seeds, p.subseeds, index=i, all_negative_prompts=p.negative_prompts)

    def save(what: Image.Image, **kwargs) -> None:
        images.save_image(
            what, p.outpath_samples, "", p.seeds[i], p.prompts[i], opts.samples_format, info=text, p=p, **kwargs
        )

    wanted = p.save_samples()
    if wanted:
        save(image)
    if opts.enable_pnginfo:
        image.info["parameters"] = text
    output_images.append(image)
    if mask is None:
        return [text]
    if opts.return_mask or (wanted and opts.save_mask):
        shown = mask.convert("RGB")
        if wanted and opts.save_mask:
            save(shown, suffix="-mask")
        if opts.return_mask:
            output_images.append(shown)
    if opts.return_mask_composite or (wanted and opts.save_mask_composite):
        stencil = images.resize_image(2, mask, *image.size).convert("L")
        worked_on = Image.composite(original.convert("RGBA").convert("RGBa"), Image.new("RGBa", image.size), stencil)
        worked_on = worked_on.convert("RGBA")
        if wanted and opts.save_mask_composite:
            save(worked_on, suffix="-mask-composite")
        if opts.return_mask_composite:
            output_images.append(worked_on)
    return [text]


def _add_grid(p, output_images: list, infotexts: list[str]) -> int:
    """Make the grid if one is wanted; answers the index of the first picture that is no grid."""
    too_few = len(output_images) < 2 and opts.grid_only_if_multiple
    if p.do_not_save_grid or too_few or not output_images or not (opts.return_grid or opts.grid_save):
        return 0
    grid = images.image_grid(output_images, p.batch_size)
    text = create_infotext(p, p.prompts, p.seeds, p.subseeds, use_main_prompt=True)
    if opts.enable_pnginfo and opts.return_grid:
        grid.info["parameters"] = text
    if opts.grid_save:
        images.save_image(
            grid, p.outpath_grids, "grid", p.all_seeds[0], p.all_prompts[0], opts.grid_format, info=text,
            short_filename=not opts.grid_extended_filename, p=p, grid=True,
        )  # fmt: skip
    if not opts.return_grid:
        return 0
    infotexts.insert(0, text)
    output_images.insert(0, grid)
    return 1
