"""One step of the full-size SD1.5 UNet, with and without motion."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch

from bench.shapes import SD15, random_tensors
from lib_animatediff.motion.families import FAMILIES
from lib_animatediff.motion.files import MotionModel
from lib_animatediff.motion.module import TemporalTransformer
from lib_animatediff.unet.hooks import attach_motion
from lib_animatediff.unet.slots import find_slots, output_channels


def unet_steps(
    clips: int, frames: int, width: int, height: int, device: str, dtype: torch.dtype
) -> dict[str, Callable[[], object]]:
    """ "plain" and "motion": functions that run the UNet once on all rows. Needs stable-diffusion-sdkit (``ldm``)."""
    from ldm.modules.diffusionmodules import openaimodel  # noqa: PLC0415  optional

    list_config = ModuleType("omegaconf.listconfig")  # ldm only asks whether an argument is one
    list_config.ListConfig = type("ListConfig", (), {})
    sys.modules.setdefault("omegaconf.listconfig", list_config)
    with contextlib.redirect_stdout(io.StringIO()):
        unet = openaimodel.UNetModel(
            image_size=32,
            in_channels=4,
            out_channels=4,
            model_channels=320,
            attention_resolutions=[4, 2, 1],
            num_res_blocks=2,
            channel_mult=[1, 2, 4, 4],
            num_heads=8,
            use_spatial_transformer=True,
            context_dim=768,
            use_checkpoint=False,
            legacy=False,
        )
    unet = unet.to(device, dtype).eval()
    unet.dtype = dtype
    tensors = {shape.channels: random_tensors(shape.channels, device, dtype) for shape in SD15}
    slots = {n: output_channels(layer) for n, layer in find_slots(unet).items() if not n.startswith("mid")}
    model = MotionModel(
        {name: TemporalTransformer(tensors[channels]) for name, channels in slots.items()},
        FAMILIES["v3"],
        Path("random"),
    )
    rows = clips * frames
    x = torch.randn(rows, 4, height // 8, width // 8, device=device, dtype=dtype)
    steps, context = torch.full((rows,), 500, device=device), torch.randn(rows, 77, 768, device=device, dtype=dtype)

    def plain() -> object:
        return unet(x, steps, context)

    def motion() -> object:
        with attach_motion(unet, model, lambda: frames):
            return unet(x, steps, context)

    return {"plain": plain, "motion": motion}
