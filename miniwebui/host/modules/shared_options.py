"""The host's own settings: A1111's keys and defaults, as far as something here reads them."""

from __future__ import annotations

import os

import gradio as gr

from modules import paths_internal, shared_items
from modules.options import OptionInfo, categories, options_section
from modules.shared_cmd_options import cmd_opts

options_templates: dict[str, OptionInfo] = {}
restricted_opts = {
    "samples_filename_pattern", "directories_filename_pattern", "outdir_samples", "outdir_txt2img_samples",
    "outdir_img2img_samples", "outdir_grids", "outdir_txt2img_grids", "outdir_img2img_grids", "outdir_save",
    "outdir_init_images", "temp_dir", "clean_temp_dir_at_start",
}  # fmt: skip
_SHOWN = not cmd_opts.hide_ui_dir_config

for _id, _label in (
    ("saving", "Saving images"), ("sd", "Stable Diffusion"), ("ui", "User Interface"), ("system", "System"),
):  # fmt: skip
    categories.register_category(_id, _label)


def _section(identifier: str | None, title: str, category: str | None = None, **options: OptionInfo) -> None:
    options_templates.update(options_section((identifier, title, category), options))


def _slider(default: float, label: str, low: float, high: float, step: float, **kwargs) -> OptionInfo:
    return OptionInfo(default, label, gr.Slider, {"minimum": low, "maximum": high, "step": step}, **kwargs)


def _choice(default: str, label: str, choices: list[str], **kwargs) -> OptionInfo:
    return OptionInfo(default, label, gr.Radio, {"choices": choices}, **kwargs)


def _folder(name: str, label: str) -> OptionInfo:
    path = os.path.join(paths_internal.default_output_dir, name) if name else ""
    return OptionInfo(path, label, component_args={"visible": _SHOWN})


_section(
    "saving-images", "Saving images/grids", "saving",
    samples_save=OptionInfo(True, "Always save all generated images"),
    samples_format=_choice("png", "File format for images", ["png", "jpg", "webp"]),
    samples_filename_pattern=OptionInfo("", "Images filename pattern", component_args={"visible": _SHOWN}),
    save_images_add_number=OptionInfo(True, "Add number to filename when saving"),
    grid_save=OptionInfo(True, "Always save all generated image grids"),
    grid_format=_choice("png", "File format for grids", ["png", "jpg", "webp"]),
    grid_extended_filename=OptionInfo(False, "Add extended info (seed, prompt) to filename when saving grid"),
    grid_only_if_multiple=OptionInfo(True, "Do not save grids consisting of one picture"),
    n_rows=_slider(-1, "Grid row count; -1: found from the number, 0: as the batch size", -1, 16, 1),
    save_images_before_highres_fix=OptionInfo(False, "Save a copy of image before applying highres fix"),
    save_mask=OptionInfo(False, "For inpainting, save a copy of the greyscale mask"),
    save_mask_composite=OptionInfo(False, "For inpainting, save a masked composite"),
    save_init_img=OptionInfo(False, "Save init images when using img2img"),
    save_incomplete_images=OptionInfo(False, "Save images whose generation was interrupted"),
    jpeg_quality=_slider(80, "Quality for saved jpeg images", 1, 100, 1),
    webp_lossless=OptionInfo(False, "Use lossless compression for webp images"),
    img_max_size_mp=OptionInfo(200, "Maximum image size, megapixels", gr.Number),
    temp_dir=OptionInfo("", "Directory for temporary images; leave empty for default"),
)  # fmt: skip
_section(
    "saving-paths", "Paths for saving", "saving",
    outdir_samples=_folder("", "Output directory for images; if empty, the folders below are used"),
    outdir_txt2img_samples=_folder("txt2img-images", "Output directory for txt2img images"),
    outdir_img2img_samples=_folder("img2img-images", "Output directory for img2img images"),
    outdir_grids=_folder("", "Output directory for grids; if empty, the folders below are used"),
    outdir_txt2img_grids=_folder("txt2img-grids", "Output directory for txt2img grids"),
    outdir_img2img_grids=_folder("img2img-grids", "Output directory for img2img grids"),
    outdir_init_images=_folder("init-images", "Directory for saving init images when using img2img"),
    save_to_dirs=OptionInfo(True, "Save images to a subdirectory"),
    grid_save_to_dirs=OptionInfo(True, "Save grids to a subdirectory"),
    directories_filename_pattern=OptionInfo("[date]", "Directory name pattern", component_args={"visible": _SHOWN}),
)  # fmt: skip
_section(
    "infotext", "Infotext", "ui",
    enable_pnginfo=OptionInfo(True, "Write infotext to metadata of the generated image"),
    save_txt=OptionInfo(False, "Create a text file with infotext next to every generated image"),
    add_model_name_to_info=OptionInfo(True, "Add model name to infotext"),
    add_model_hash_to_info=OptionInfo(True, "Add model hash to infotext"),
    add_version_to_infotext=OptionInfo(True, "Add program version to infotext"),
    disable_weights_auto_swap=OptionInfo(True, "Disregard checkpoint information from pasted infotext"),
    infotext_skip_pasting=OptionInfo([], "Disregard fields from pasted infotext", gr.Dropdown,
                                     lambda: {"multiselect": True, "choices": shared_items.get_infotext_names()}),
    send_seed=OptionInfo(True, "Send seed when sending prompt or image to other interface"),
)  # fmt: skip
_section(
    "ui", "User interface", "ui",
    return_grid=OptionInfo(True, "Show grid in gallery"),
    do_not_show_images=OptionInfo(False, "Do not show any images in gallery"),
    interrupt_after_current=OptionInfo(True, "Interrupt ends after the current image when several are made"),
    live_previews_enable=OptionInfo(True, "Show live previews of the created image"),
    live_previews_image_format=_choice("png", "Live preview file format", ["jpeg", "png", "webp"]),
    show_progress_grid=OptionInfo(True, "Show previews of all images generated in a batch as a grid"),
    show_progress_every_n_steps=_slider(10, "Live preview display period, in sampling steps", -1, 32, 1),
    show_progress_type=_choice("Approx cheap", "Live preview method", ["Full", "Approx cheap"]),
    live_preview_content=_choice("Prompt", "Live preview subject", ["Combined", "Prompt", "Negative prompt"]),
    samples_log_stdout=OptionInfo(False, "Always print all generation info to standard output"),
    img2img_editor_height=_slider(360, "Height of the image editor", 80, 1600, 1),
)  # fmt: skip
_section(
    "sd", "Stable Diffusion", "sd",
    sd_model_checkpoint=OptionInfo(None, "Stable Diffusion checkpoint", gr.Dropdown,
                                   lambda: {"choices": shared_items.list_checkpoint_tiles()},
                                   refresh=shared_items.refresh_checkpoints, infotext="Model hash"),
    sd_checkpoints_limit=_slider(1, "Maximum number of checkpoints loaded at the same time", 1, 10, 1),
    sd_checkpoints_keep_in_cpu=OptionInfo(True, "Only keep one model on device"),
    sd_unet=OptionInfo("Automatic", "SD Unet", gr.Dropdown, lambda: {"choices": shared_items.sd_unet_items()},
                       refresh=shared_items.refresh_unet_list),
    sd_vae=OptionInfo("Automatic", "SD VAE", infotext="VAE"),
    emphasis=_choice("Original", "Emphasis mode", ["None", "Ignore", "Original", "No norm"], infotext="Emphasis"),
    enable_quantization=OptionInfo(False, "Enable quantization in K samplers"),
    comma_padding_backtrack=_slider(20, "Prompt word wrap length limit", 0, 74, 1),
    CLIP_stop_at_last_layers=_slider(1, "Clip skip", 1, 12, 1, infotext="Clip skip"),
    randn_source=_choice("GPU", "Random number generator source", ["GPU", "CPU"], infotext="RNG"),
    hires_fix_refiner_pass=_choice("second pass", "Hires fix: which pass to enable refiner for",
                                   ["first pass", "second pass", "both passes"], infotext="Hires refiner"),
)  # fmt: skip
_section(
    "img2img", "img2img", "sd",
    initial_noise_multiplier=_slider(1.0, "Noise multiplier for img2img", 0, 1.5, 0.001, infotext="Noise multiplier"),
    img2img_extra_noise=_slider(0.0, "Extra noise multiplier for img2img and hires fix", 0, 1, 0.01,
                                infotext="Extra noise"),
    img2img_fix_steps=OptionInfo(False, "With img2img, do exactly the amount of steps the slider specifies"),
    img2img_background_color=OptionInfo("#ffffff", "Colour under transparent parts of the input image"),
    return_mask=OptionInfo(False, "For inpainting, include the greyscale mask in results for web"),
    return_mask_composite=OptionInfo(False, "For inpainting, include masked composite in results for web"),
    overlay_inpaint=OptionInfo(True, "Overlay original for inpaint"),
    upscaler_for_img2img=OptionInfo(None, "Upscaler for img2img", gr.Dropdown,
                                    lambda: {"choices": [x.name for x in shared_items.upscalers()]}),
)  # fmt: skip
_section(
    "optimizations", "Optimizations", "sd",
    s_min_uncond=_slider(0.0, "Negative Guidance minimum sigma", 0, 15, 0.01, infotext="NGMS"),
    s_min_uncond_all=OptionInfo(False, "Negative Guidance minimum sigma all steps", infotext="NGMS all steps"),
    pad_cond_uncond=OptionInfo(False, "Pad prompt/negative prompt", infotext="Pad conds"),
    pad_cond_uncond_v0=OptionInfo(False, "Pad prompt/negative prompt (v0)", infotext="Pad conds v0"),
    persistent_cond_cache=OptionInfo(True, "Persistent cond cache"),
    batch_cond_uncond=OptionInfo(True, "Batch cond/uncond"),
)  # fmt: skip
_section(
    "compatibility", "Compatibility", "sd",
    hires_fix_use_firstpass_conds=OptionInfo(False, "For hires fix, use the first pass's extra networks"),
    use_old_scheduling=OptionInfo(False, "Use old prompt editing timelines", infotext="Old prompt editing timelines"),
    use_downcasted_alpha_bar=OptionInfo(False, "Downcast model alphas_cumprod to fp16 before sampling",
                                        infotext="Downcast alphas_cumprod"),
    refiner_switch_by_sample_steps=OptionInfo(False, "Switch to refiner by sampling steps, not model timesteps",
                                              infotext="Refiner switch by sampling steps"),
)  # fmt: skip
_section(
    "sampler-params", "Sampler parameters", "sd",
    hide_samplers=OptionInfo([], "Hide samplers in user interface", gr.CheckboxGroup,
                             lambda: {"choices": shared_items.sampler_names()}),
    eta_ddim=_slider(0.0, "Eta for DDIM", 0, 1, 0.01, infotext="Eta DDIM"),
    eta_ancestral=_slider(1.0, "Eta for k-diffusion samplers", 0, 1, 0.01, infotext="Eta"),
    s_churn=_slider(0.0, "sigma churn", 0, 100, 0.01, infotext="Sigma churn"),
    s_tmin=_slider(0.0, "sigma tmin", 0, 10, 0.01, infotext="Sigma tmin"),
    s_tmax=_slider(0.0, "sigma tmax", 0, 999, 0.01, infotext="Sigma tmax"),
    s_noise=_slider(1.0, "sigma noise", 0, 1.1, 0.001, infotext="Sigma noise"),
    sigma_min=OptionInfo(0.0, "sigma min", gr.Number, infotext="Schedule min sigma"),
    sigma_max=OptionInfo(0.0, "sigma max", gr.Number, infotext="Schedule max sigma"),
    rho=OptionInfo(0.0, "rho", gr.Number, infotext="Schedule rho"),
    eta_noise_seed_delta=OptionInfo(0, "Eta noise seed delta", gr.Number, {"precision": 0}, infotext="ENSD"),
    always_discard_next_to_last_sigma=OptionInfo(False, "Always discard next-to-last sigma",
                                                 infotext="Discard penultimate sigma"),
    sgm_noise_multiplier=OptionInfo(False, "SGM noise multiplier", infotext="SGM noise multiplier"),
    uni_pc_variant=_choice("bh1", "UniPC variant", ["bh1", "bh2", "vary_coeff"], infotext="UniPC variant"),
    uni_pc_skip_type=_choice("time_uniform", "UniPC skip type", ["time_uniform", "time_quadratic", "logSNR"],
                             infotext="UniPC skip type"),
    uni_pc_order=_slider(3, "UniPC order", 1, 50, 1, infotext="UniPC order"),
    uni_pc_lower_order_final=OptionInfo(True, "UniPC lower order final", infotext="UniPC lower order final"),
    sd_noise_schedule=_choice("Default", "Noise schedule for sampling", ["Default", "Zero Terminal SNR"],
                              infotext="Noise Schedule"),
    skip_early_cond=_slider(0.0, "Ignore negative prompt during early sampling", 0, 1, 0.01, infotext="Skip Early CFG"),
)  # fmt: skip
_section(
    "api", "API", "system",
    api_enable_requests=OptionInfo(True, "Allow http:// and https:// URLs for input images in API", restrict_api=True),
    api_forbid_local_requests=OptionInfo(True, "Forbid URLs to local resources", restrict_api=True),
    api_useragent=OptionInfo("", "User agent for requests", restrict_api=True),
)  # fmt: skip
_section(
    None, "Hidden options", None,
    disabled_extensions=OptionInfo([], "Disable these extensions"),
    disable_all_extensions=OptionInfo("none", "Disable all extensions"),
    sd_checkpoint_hash=OptionInfo("", "SHA256 hash of the current checkpoint"),
)  # fmt: skip
