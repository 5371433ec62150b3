"""Upscalers that need no model: plain resizing by Pillow."""

from __future__ import annotations

from PIL import Image


class Upscaler:
    """A way to enlarge images."""

    name = "Lanczos"
    model_path = None
    model_name = None
    filter = Image.Resampling.LANCZOS

    def upscale(self, img: Image.Image, scale: float, selected_model: str | None = None) -> Image.Image:
        """The image with both sides multiplied by `scale`, rounded down to multiples of 8 as A1111 does."""
        width, height = int(img.width * scale // 8 * 8), int(img.height * scale // 8 * 8)
        return img if (width, height) == img.size else img.resize((width, height), self.filter)


class UpscalerNearest(Upscaler):
    name = "Nearest"
    filter = Image.Resampling.NEAREST


class UpscalerNone(Upscaler):
    name = "None"

    def upscale(self, img: Image.Image, scale: float, selected_model: str | None = None) -> Image.Image:
        return img


class UpscalerData:
    """Entry of `shared.sd_upscalers`."""

    def __init__(self, scaler: Upscaler, scale: int = 4) -> None:
        self.name = scaler.name
        self.scaler = scaler
        self.data_path = None
        self.local_data_path = None
        self.scale = scale


def builtin_upscalers() -> list[UpscalerData]:
    """The upscalers of every installation."""
    return [UpscalerData(x(), 1 if x is UpscalerNone else 4) for x in (UpscalerNone, Upscaler, UpscalerNearest)]
