"""Replacements of the UNet that extensions may offer (TensorRT and the like)."""

from __future__ import annotations

import functools

import torch

from modules import devices, script_callbacks, shared

unet_options: list = []
current_unet_option = None
current_unet = None


class SdUnetOption:
    """One offer: ``label`` is shown in the settings, ``model_name`` names the checkpoint it belongs to."""

    model_name = None
    label = None

    def create_unet(self):
        """The replacement, an `SdUnet`."""
        raise NotImplementedError


class SdUnet(torch.nn.Module):
    """A replacement of the UNet."""

    def forward(self, x, timesteps, context, *args, **kwargs):
        raise NotImplementedError

    def activate(self):
        """Called before the first use."""

    def deactivate(self):
        """Called when another UNet takes over."""


def list_unets() -> None:
    """Ask the extensions for their offers."""
    unet_options[:] = script_callbacks.list_unets_callback()


def get_unet_option(option: str | None = None):
    """The offer that a setting asks for: "None", "Automatic" (by the checkpoint's name) or a label."""
    option = option or getattr(shared.opts, "sd_unet", "Automatic")
    if option == "Automatic":
        loaded = shared.sd_model.sd_checkpoint_info
        return next((x for x in unet_options if x.model_name == loaded.model_name), None)
    return next((x for x in unet_options if x.label == option), None)


def apply_unet(option: str | None = None) -> None:
    """Switch to the UNet that the settings (or ``option``) ask for."""
    global current_unet, current_unet_option  # noqa: PLW0603  (extensions read these names from the module)
    wanted = get_unet_option(option)
    if wanted is current_unet_option:
        return
    if current_unet is not None:
        current_unet.deactivate()
    current_unet_option, current_unet = wanted, None
    model = shared.sd_model
    own = model.model.diffusion_model
    if wanted is None:
        if not model.lowvram:
            own.to(devices.device)
        return
    own.to(devices.cpu)
    devices.torch_gc()
    current_unet = wanted.create_unet()
    current_unet.option = wanted
    current_unet.activate()


def create_unet_forward(original_forward):
    """``UNetModel.forward`` that gives way to the active replacement."""

    def forward(self, x, timesteps=None, context=None, *args, **kwargs):
        run = functools.partial(original_forward, self) if current_unet is None else current_unet.forward
        return run(x, timesteps, context, *args, **kwargs)

    return forward
