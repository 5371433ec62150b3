"""FILM (Reda et al. 2022, "Frame Interpolation for Large Motion") from its TorchScript export.

The file is ``film_net_fp16.pt`` of dajes/frame-interpolation-pytorch: ``model(a, b, t)`` with images (1, 3, height,
width) in 0..1 and t (1, 1) makes the image at time t between them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from lib_animatediff.errors import ModelFileError

_MULTIPLE = 64  # the network halves its images six times


def film_between(path: Path, device: torch.device) -> Callable[[Image.Image, Image.Image, float], Image.Image]:
    """A function (frame a, frame b, t in 0..1) -> frame, for ``video.interpolate``.

    Half precision on accelerators, float32 on the CPU. Raises ModelFileError when there is no such file or it is not
    a TorchScript archive.
    """
    if not path.is_file():
        raise ModelFileError(
            f"Interpolation by FILM needs the file {path.name} in {path.parent}. Put it there, or choose Flow, "
            "which is built in."
        )
    try:
        model = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path} is no TorchScript file, or it is damaged: {error}") from error
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.float16
    model = model.eval().to(device=device, dtype=dtype)

    def between(a: Image.Image, b: Image.Image, t: float) -> Image.Image:
        with torch.no_grad():
            first, second = (_to_tensor(frame).to(device, dtype) for frame in (a, b))
            made = model(first, second, first.new_full((1, 1), t))
        return _to_image(made, a.size)

    return between


def _to_tensor(frame: Image.Image) -> torch.Tensor:
    """(1, 3, height, width) in 0..1, its edges repeated up to a multiple of 64."""
    x = torch.from_numpy(np.array(frame.convert("RGB"), dtype=np.float32) / 255).movedim(2, 0).unsqueeze(0)
    return F.pad(x, (0, -frame.width % _MULTIPLE, 0, -frame.height % _MULTIPLE), mode="replicate")


def _to_image(x: torch.Tensor, size: tuple[int, int]) -> Image.Image:
    width, height = size
    pixels = x[0, :, :height, :width].float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(pixels.movedim(0, 2).cpu().numpy())
