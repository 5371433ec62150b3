"""Low-VRAM modes: only the part of the model that is running is on the device.

``--medvram`` moves text encoder, autoencoder and UNet as three parts; ``--lowvram`` moves the UNet block by block.
"""

from __future__ import annotations

import torch

from modules import devices, shared

cpu = torch.device("cpu")
module_in_gpu: torch.nn.Module | None = None


def is_needed(sd_model) -> bool:
    """True if the command line asks for a low-VRAM mode."""
    return bool(getattr(shared.cmd_opts, "lowvram", False) or getattr(shared.cmd_opts, "medvram", False))


def is_enabled(sd_model) -> bool:
    """True if this model is set up for low VRAM."""
    return sd_model.lowvram


def apply(sd_model) -> None:
    """Set the model up as the command line asks."""
    needed = is_needed(sd_model)
    shared.parallel_processing_allowed = not needed
    if needed:
        setup_for_low_vram(sd_model, use_medvram=not shared.cmd_opts.lowvram)
    else:
        sd_model.lowvram = False


def rest(sd_model) -> bool:
    """Free the device of a model that is set up for low VRAM; False for any other."""
    if is_enabled(sd_model):
        send_everything_to_cpu()
    return is_enabled(sd_model)


def send_everything_to_cpu() -> None:
    """Free the device of the part that is on it."""
    global module_in_gpu  # noqa: PLW0603
    if module_in_gpu is not None:
        module_in_gpu.to(cpu)
    module_in_gpu = None


def _bring(module: torch.nn.Module, *_) -> None:
    """Put one part on the device; the part that was there goes back to the CPU."""
    global module_in_gpu  # noqa: PLW0603
    if module_in_gpu is module:
        return
    send_everything_to_cpu()
    module.to(devices.device)
    module_in_gpu = module


def setup_for_low_vram(sd_model, use_medvram: bool) -> None:
    """Hooks that bring each part to the device when it is called; once per model."""
    if vars(sd_model).get("lowvram"):
        return
    sd_model.lowvram = True
    vae, unet = sd_model.first_stage_model, sd_model.model.diffusion_model
    sd_model.to(cpu)
    sd_model.betas = sd_model.betas.to(devices.device)
    sd_model.alphas_cumprod = sd_model.alphas_cumprod.to(devices.device)

    # the autoencoder is entered by encode and decode, which run no forward hooks
    for name in ("encode", "decode"):
        setattr(vae, name, _bringing(vae, getattr(vae, name)))
    parts: list[torch.nn.Module] = [sd_model.cond_stage_model.transformer]
    if use_medvram:
        parts.append(sd_model.model)
    else:
        blocks = [unet.time_embed, *unet.input_blocks, unet.middle_block, *unet.output_blocks]
        inside = {id(x) for block in blocks for x in block.modules()}
        for module in unet.modules():  # what is in no block is small and stays on the device
            if id(module) not in inside and not list(module.children()):
                module.to(devices.device)
        parts += blocks
    for part in parts:
        part.register_forward_pre_hook(_bring)


def _bringing(module: torch.nn.Module, method):
    def call(*args, **kwargs):
        _bring(module)
        return method(*args, **kwargs)

    return call
