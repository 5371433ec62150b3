"""Masks of inpainting: the region to work on, soft edges, and what to put under the mask."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageOps


def get_crop_region_v2(mask: Image.Image, pad: int = 0) -> tuple[int, int, int, int] | None:
    """The box (x1, y1, x2, y2) around all that is not black, ``pad`` pixels wider; None for a black mask."""
    box = mask.getbbox()
    if box is None:
        return None
    return max(box[0] - pad, 0), max(box[1] - pad, 0), min(box[2] + pad, mask.width), min(box[3] + pad, mask.height)


def _widened(start: int, end: int, wanted: float, limit: int) -> tuple[int, int]:
    """The span made ``wanted`` long around its middle, then pushed back inside 0..limit."""
    more = int(wanted - (end - start))
    start, end = start - more // 2, end + more - more // 2
    if end >= limit:
        start, end = start - (end - limit), limit
    if start < 0:
        start, end = 0, end - start
    return start, min(end, limit)


def expand_crop_region(crop_region, processing_width, processing_height, image_width, image_height):
    """The box made as wide or as high as it takes to have the ratio of the size worked at."""
    x1, y1, x2, y2 = crop_region
    ratio = processing_width / processing_height
    if (x2 - x1) / (y2 - y1) > ratio:
        y1, y2 = _widened(y1, y2, (x2 - x1) / ratio, image_height)
    else:
        x1, x2 = _widened(x1, x2, (y2 - y1) * ratio, image_width)
    return x1, y1, x2, y2


def fill(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with the masked part filled by ever finer blurs of the rest."""
    rest = Image.new("RGBa", image.size)
    rest.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    filled = Image.new("RGBA", image.size)
    for radius, times in ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1)):
        layer = rest.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            filled.alpha_composite(layer)
    return filled.convert("RGB")


def blur(mask: Image.Image, sigma_x: float, sigma_y: float) -> Image.Image:
    """Gaussian blur of a grey mask, 2.5 sigmas wide, edges mirrored; a sigma of 0 leaves that direction sharp."""
    values = np.asarray(mask, dtype=np.float64)
    for axis, sigma in ((1, sigma_x), (0, sigma_y)):
        if sigma > 0:
            radius = int(2.5 * sigma + 0.5)
            kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
            padding = [(radius, radius) if a == axis else (0, 0) for a in (0, 1)]
            padded = np.pad(values, padding, mode="reflect")
            blurred = np.apply_along_axis(np.convolve, axis, padded, kernel / kernel.sum(), mode="valid")
            values = np.rint(blurred)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def create_binary_mask(image: Image.Image, round: bool = True) -> Image.Image:  # noqa: A002
    """A grey mask from a picture: its alpha where it has one (rounded on request), else its brightness."""
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    if alpha is None or alpha.getextrema() == (255, 255):
        return image.convert("L")
    return alpha.point(lambda x: 255 if x > 128 else 0) if round else alpha
