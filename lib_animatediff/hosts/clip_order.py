"""``AND`` prompts on A1111: rows sorted so that every batch of the UNet is made of whole clips.

A1111 repeats each image for every part of its composed prompt, so n parts of F frames arrive frame by frame
(f0p0 f0p1 f1p0 f1p1 ...) and may be cut into chunks that hold some frames only. Temporal attention needs all frames
of one part in a row. ``cfg_denoiser`` callbacks may exchange the batch, so the rows are sorted there (f0p0 f1p0 ...
f0p1 f1p1 ...) and sorted back in ``cfg_denoised``, before the host combines them.

The denoiser carries its ClipOrder as an attribute for the length of a run: the callbacks stay registered for good,
and do nothing for a denoiser without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.unet.patch import instance_attribute

_TAG = "animatediff_clip_order"


def count_parts(conditioning: Any) -> int:
    """How many ``AND`` parts each frame of a composed conditioning has; UnsupportedError when frames differ."""
    counts = {len(parts) for parts in conditioning.batch}
    if len(counts) > 1:
        raise UnsupportedError(
            "AnimateDiff needs the same number of AND parts in the prompt of every frame; this prompt has "
            f"{min(counts)} in one and {max(counts)} in another."
        )
    return counts.pop()


def _take_rows(value: Any, rows: torch.Tensor) -> Any:
    if isinstance(value, dict):
        picked = {name: tensor[rows.to(tensor.device)] for name, tensor in value.items()}
        return type(value)(picked) if type(value) is not dict else picked
    return value[rows.to(value.device)]


class ClipOrder:
    """The sorting of one denoiser call: ``frames`` and ``parts`` are set by the run before each call."""

    def __init__(self) -> None:
        self.frames = 0
        self.parts = 1
        self._sorted_x: torch.Tensor | None = None
        self.error: Exception | None = None

    def _sorted_rows(self) -> torch.Tensor:
        """Row of the host's order that stands at each place of the sorted order, for the conditional rows."""
        return torch.arange(self.frames * self.parts).view(self.frames, self.parts).T.reshape(-1)

    def sort(self, params: Any) -> None:
        """Sort the host's ``CFGDenoiserParams`` part by part."""
        rows = self._sorted_rows()
        all_rows = torch.cat([rows, torch.arange(len(rows), params.x.shape[0])])
        params.x = params.x[all_rows.to(params.x.device)]
        params.sigma = params.sigma[all_rows.to(params.sigma.device)]
        params.image_cond = _take_rows(params.image_cond, all_rows)
        params.text_cond = _take_rows(params.text_cond, rows)
        self._sorted_x = params.x

    def sort_back(self, output: torch.Tensor) -> None:
        """Bring the host's frame-by-frame order back, in place, into ``output`` and into the input it came from.

        When the unconditional rows were skipped, the host has already copied each frame's first part into their
        place, counting in its own order: those rows are copied again from the right ones.
        """
        rows = self._sorted_rows().to(output.device)
        first_part = torch.arange(self.frames, device=output.device) * self.parts
        uncond_was_skipped = torch.equal(output[len(rows) :], output[first_part])
        for tensor in (output, self._sorted_x):
            in_order = torch.empty_like(tensor[: len(rows)])
            in_order[rows] = tensor[: len(rows)]
            tensor[: len(rows)] = in_order
        if uncond_was_skipped:
            output[len(rows) :] = output[first_part]
        self._sorted_x = None


@contextmanager
def clip_order(denoiser: Any) -> Iterator[ClipOrder]:
    """While open, the batches of ``denoiser`` are sorted into whole clips."""
    order = ClipOrder()
    with instance_attribute(denoiser, _TAG, order):
        yield order


def on_cfg_denoiser(params: Any) -> None:
    """The host's ``cfg_denoiser`` callback."""
    order = vars(params.denoiser).get(_TAG) if params.denoiser is not None else None
    if order is None or order.parts == 1:
        return
    try:
        order.sort(params)
    except Exception as error:  # noqa: BLE001 - the host swallows callback errors; the run raises this one itself
        order.error = error
        return
    vars(params.denoiser.inner_model)[_TAG] = order


def on_cfg_denoised(params: Any) -> None:
    """The host's ``cfg_denoised`` callback."""
    order = vars(params.inner_model).pop(_TAG, None)
    if order is None:
        return
    try:
        order.sort_back(params.x)
    except Exception as error:  # noqa: BLE001 - as above
        order.error = error
