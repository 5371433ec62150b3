"""Frames between the frames."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

import numpy as np
from PIL import Image

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.video.frames import opaque, same_size

Between = Callable[[Image.Image, Image.Image, float], Image.Image]
"""(frame a, frame b, t from 0 to 1) -> the frame at t, of the same size."""


def interpolate(frames: Iterable[Image.Image], factor: int, method: str | Between = "Flow") -> Iterator[Image.Image]:
    """Puts ``factor`` - 1 frames between every two: n frames become (n - 1) * factor + 1.

    The frames given come out again as they are, the same objects in the same order. ``method`` is "Off" (nothing is
    added), "Flow" (optical flow, see `flow_between`) or a function that makes a frame between two. Two frames are
    held at a time. Raises ValueError for a factor below 1 or an unknown method, UnsupportedError where OpenCV is
    missing, VideoWriteError where the sizes of the frames differ.
    """
    if factor < 1:
        raise ValueError(f"Frames cannot be multiplied by {factor}. Choose 1 or more.")
    if isinstance(method, str) and method not in ("Off", "Flow"):
        raise ValueError(f"There is no interpolation {method!r} here. Choose Off or Flow.")
    if factor == 1 or method == "Off":
        return iter(frames)
    return _interpolate(frames, factor, flow_between() if method == "Flow" else method)


def _interpolate(frames: Iterable[Image.Image], factor: int, between: Between) -> Iterator[Image.Image]:
    former: Image.Image | None = None
    for frame in same_size(frames):
        if former is not None:
            for step in range(1, factor):
                yield between(former, frame, step / factor)
        yield frame
        former = frame


def flow_between() -> Between:
    """A function that makes a frame between two by moving the pixels of both along the optical flow.

    Flow both ways by OpenCV's DIS (Kroeger et al. 2016). The flow from the frame at t to either end is put together
    from both as in Super SloMo (Jiang et al. 2018, eq. 4), both ends are warped backward along it and blended by
    closeness in time and by how well the two flows agree there, so that what only one end shows is taken from it.
    The flow of the latest pair is kept, as all its frames are asked for in a row.
    Raises UnsupportedError where OpenCV is missing.
    """
    return _FlowBetween(_opencv())


class _FlowBetween:
    def __init__(self, cv2: ModuleType):
        self._cv2 = cv2
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._pair: tuple[Image.Image, Image.Image] | None = None
        self._pixels: list[np.ndarray] = []
        self._flows: list[np.ndarray] = []

    def __call__(self, frame_a: Image.Image, frame_b: Image.Image, t: float) -> Image.Image:
        if self._pair is None or self._pair[0] is not frame_a or self._pair[1] is not frame_b:
            self._look_at(frame_a, frame_b)
        forward, backward = self._flows
        to_a = -(1 - t) * t * forward + t * t * backward
        to_b = (1 - t) ** 2 * forward - t * (1 - t) * backward
        weight_a = (1 - t) * self._agreement(forward, backward, to_a)
        weight_b = t * self._agreement(backward, forward, to_b)
        share_b = (weight_b / (weight_a + weight_b))[..., None]
        warped_a, warped_b = self._warp(self._pixels[0], to_a), self._warp(self._pixels[1], to_b)
        blended = warped_a.astype(np.float32) * (1 - share_b) + warped_b.astype(np.float32) * share_b
        return Image.fromarray(np.rint(blended).astype(np.uint8))

    def _look_at(self, frame_a: Image.Image, frame_b: Image.Image) -> None:
        self._pixels = [np.asarray(opaque(frame)) for frame in (frame_a, frame_b)]
        grey_a, grey_b = (self._cv2.cvtColor(pixels, self._cv2.COLOR_RGB2GRAY) for pixels in self._pixels)
        self._flows = [self._calc(grey_a, grey_b), self._calc(grey_b, grey_a)]
        self._pair = (frame_a, frame_b)

    def _calc(self, grey_a: np.ndarray, grey_b: np.ndarray) -> np.ndarray:
        """(height, width, 2) float32, where each pixel of a lies in b; DIS cannot look at less than a few patches."""
        if min(grey_a.shape) < 16:
            return np.zeros((*grey_a.shape, 2), np.float32)
        return self._flow.calc(grey_a, grey_b, None)

    def _warp(self, pixels: np.ndarray, flow: np.ndarray) -> np.ndarray:
        """Each pixel taken from where ``flow`` points to, bilinear, the border repeated."""
        height, width = flow.shape[:2]
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        return self._cv2.remap(
            pixels,
            columns + flow[..., 0].astype(np.float32),
            rows + flow[..., 1].astype(np.float32),
            self._cv2.INTER_LINEAR,
            borderMode=self._cv2.BORDER_REPLICATE,
        )

    def _agreement(self, there: np.ndarray, back: np.ndarray, to_end: np.ndarray) -> np.ndarray:
        """From 1 where going along a flow and back along the other ends at the start, towards 0 where it does not."""
        error = there + self._warp(back, there)
        error = self._warp(np.square(error).sum(axis=-1), to_end)
        return 1 / (1 + error) + 1e-3


def _opencv() -> ModuleType:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise UnsupportedError(
            f"Interpolation by optical flow needs OpenCV, which does not load ({error}). "
            "Run `pip install opencv-python-headless` in the WebUI's environment and restart it."
        ) from error
