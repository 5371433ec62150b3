"""The host's encoded prompts, cut to some of the frames."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any


def conds_of_frames(cond: Any, uncond: Sequence[Any] | None, frames: Sequence[int]) -> tuple[Any, list[Any] | None]:
    """The host's ``MulticondLearnedConditioning`` and its negative, for these frames alone; neither is changed.

    ``uncond`` is None on hosts that leave the negative out where guidance is 1.
    """
    part = copy(cond)
    part.batch = [cond.batch[i] for i in frames]
    part.shape = (len(frames),)
    return part, None if uncond is None else [uncond[i] for i in frames]
