"""Frames as the encoders want them: one size, no transparency where a format has none, and how long each is shown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
from PIL import Image

from lib_animatediff.errors import VideoWriteError

PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"})


def has_alpha(frame: Image.Image) -> bool:
    """Whether a frame can have transparent pixels, a palette's transparent entry included."""
    return "A" in frame.getbands() or "transparency" in frame.info


def opaque(frame: Image.Image) -> Image.Image:
    """A frame of any mode as RGB; what is transparent is laid on black."""
    if frame.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(frame) >> 8).astype(np.uint8)).convert("RGB")
    if has_alpha(frame):
        rgba = frame.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("RGB")
    return frame if frame.mode == "RGB" else frame.convert("RGB")


def with_alpha(frame: Image.Image) -> Image.Image:
    """A frame of any mode as RGBA if it can be transparent, else as RGB."""
    return frame.convert("RGBA") if has_alpha(frame) else opaque(frame)


def same_size(frames: Iterable[Image.Image]) -> Iterator[Image.Image]:
    """The frames one by one, refusing the first whose size differs from the first frame's."""
    size = None
    for number, frame in enumerate(frames):
        size = size or frame.size
        if frame.size != size:
            raise VideoWriteError(
                f"Frame {number} is {frame.width}x{frame.height}, but the first frame is {size[0]}x{size[1]}. "
                "All frames of an animation must have one size."
            )
        yield frame


def even_rgb(frame: Image.Image) -> np.ndarray:
    """A frame as (height, width, 3) uint8 with both sides even.

    Chroma of yuv420p is stored for 2x2 pixels. An odd side grows by one: the last column or row is repeated at the
    right or bottom, so no pixel of the picture is lost.
    """
    rgb = np.asarray(opaque(frame))
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(rgb)


def yuv420p(rgb: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8 RGB of even sides to planar 4:2:0, (height * 3 / 2, width) uint8.

    ITU-R BT.709 matrix, limited range (luma 16-235, chroma 16-240). Written out because PyAV's own conversion ignores
    the wanted matrix in some of its versions and then every colour is a little off.
    """
    height, width = rgb.shape[:2]
    kr, kb = 0.2126, 0.0722
    weights = np.array([kr, 1 - kr - kb, kb], np.float32)
    luma = rgb.astype(np.float32) @ weights
    quarter = rgb.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3), dtype=np.float32)
    quarter_luma = quarter @ weights
    blue = (quarter[..., 2] - quarter_luma) / (2 * (1 - kb))
    red = (quarter[..., 0] - quarter_luma) / (2 * (1 - kr))
    planes = np.concatenate([16 + luma.ravel() * (219 / 255), *(128 + c.ravel() * (224 / 255) for c in (blue, red))])
    return np.rint(planes).astype(np.uint8).reshape(height * 3 // 2, width)


def frame_times(count: int, fps: Fraction, ticks: int) -> list[int]:
    """How long each of ``count`` frames is shown, in 1/``ticks`` of a second.

    Starts are rounded, not durations, so the errors do not add up and the whole lasts count / fps.
    """
    starts = [math.floor(Fraction(number * ticks) / fps + Fraction(1, 2)) for number in range(count + 1)]
    return [max(1, end - start) for start, end in itertools.pairwise(starts)]


def gif_times(count: int, fps: Fraction) -> list[tuple[int, int]]:
    """The frames a GIF shows, as (frame number, centiseconds).

    Browsers show a frame of 0 or 1 centiseconds for 10, so a GIF cannot be faster than 50 frames per second. Above
    that it shows the frames nearest to every second centisecond, which keeps the speed of what is seen.
    """
    if fps <= 50:
        return list(enumerate(frame_times(count, fps, 100)))
    shown = max(1, math.floor(Fraction(50 * count) / fps + Fraction(1, 2)))
    return [(math.floor(number * fps / 50), 2) for number in range(shown)]
