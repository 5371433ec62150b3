"""The host's encoded prompts: cut to some of the frames, and mixed for frames between two keyframes.

The structure is that of A1111's ``modules.prompt_parser``, which all hosts share: of each frame a list of parts (joined
by ``AND``) with a weight and a schedule; of each entry of a schedule the step it ends at and a tensor (tokens, width),
or a dict of tensors for SDXL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_animatediff.timeline.travel import PromptTravel

Blend = Callable[[Tensor, Tensor, float], Tensor]


def conds_of_frames(cond: Any, uncond: Sequence[Any] | None, frames: Sequence[int]) -> tuple[Any, list[Any] | None]:
    """The host's ``MulticondLearnedConditioning`` and its negative, for these frames alone; neither is changed.

    ``uncond`` is None on hosts that leave the negative out where guidance is 1.
    """
    part = copy(cond)
    part.batch, part.shape = [cond.batch[i] for i in frames], (len(frames),)
    return part, None if uncond is None else [uncond[i] for i in frames]


@dataclass(frozen=True)
class Travel:
    """Where the prompts of one pass travel; None for a prompt without keyframes. ``easing`` bends the way."""

    prompt: PromptTravel | None
    negative: PromptTravel | None
    blend: Blend
    easing: Callable[[float], float]

    def conds_of_frames(
        self, cond: Any, uncond: Sequence[Any] | None, frames: Sequence[int]
    ) -> tuple[Any, list[Any] | None]:
        """As the function ``conds_of_frames``, with every frame between two keyframes on its way."""
        part, negatives = conds_of_frames(cond, uncond, frames)
        if self.prompt is not None:
            part.batch = [self._composed(cond.batch, *self.prompt.mix(i)) for i in frames]
        if negatives is None:
            return part, None
        if self.negative is not None:
            negatives = [self._schedule(uncond, *self.negative.mix(i)) for i in frames]
        return part, _of_one_length(negatives)

    def _composed(self, batch: Sequence[Any], left: int, right: int, share: float) -> list[Any]:
        share = self.easing(share)
        if share == 0:
            return batch[left]
        mixed = []
        for one, other in zip(batch[left], batch[right], strict=True):
            part = copy(one)
            part.weight = one.weight * (1 - share) + other.weight * share
            part.schedules = self._mixed(one.schedules, other.schedules, share)
            mixed.append(part)
        return mixed

    def _schedule(self, schedules: Sequence[Any], left: int, right: int, share: float) -> Any:
        share = self.easing(share)
        return schedules[left] if share == 0 else self._mixed(schedules[left], schedules[right], share)

    def _mixed(self, one: Sequence[Any], other: Sequence[Any], share: float) -> list[Any]:
        """Two schedules mixed step by step: the new one changes wherever one of them does."""
        ends = sorted({entry.end_at_step for entry in (*one, *other)})
        return [
            _entry_at(one, end)._replace(
                end_at_step=end, cond=self._mixed_cond(_entry_at(one, end).cond, _entry_at(other, end).cond, share)
            )
            for end in ends
        ]

    def _mixed_cond(self, one: Any, other: Any, share: float) -> Any:
        if isinstance(one, dict):
            mixed = copy(one)
            mixed.update({name: self._mixed_cond(value, other[name], share) for name, value in one.items()})
            return mixed
        tokens = max(one.shape[0], other.shape[0])
        return self.blend(_lengthened(one, tokens), _lengthened(other, tokens), share)


def _entry_at(schedule: Sequence[Any], step: int) -> Any:
    """The entry the host takes at ``step``: the first that ends there or later, or the first of all."""
    return next((entry for entry in schedule if step <= entry.end_at_step), schedule[0])


def _lengthened(cond: Tensor, tokens: int) -> Tensor:
    """(tokens, width) by repeating the last token, as the host does with prompts of unequal length in one batch."""
    missing = tokens - cond.shape[0]
    return cond if missing <= 0 or cond.ndim == 1 else torch.cat([cond, cond[-1:].expand(missing, -1)])


def _of_one_length(schedules: list[Any]) -> list[Any]:
    """Negatives with the same number of tokens everywhere: the host cannot stack others."""

    def tokens(cond: Any) -> int:
        return cond["crossattn"].shape[0] if isinstance(cond, dict) else cond.shape[0]

    lengths = {tokens(entry.cond) for schedule in schedules for entry in schedule}
    if len(lengths) == 1:
        return schedules
    longest = max(lengths)

    def padded(cond: Any) -> Any:
        if not isinstance(cond, dict):
            return _lengthened(cond, longest)
        longer = copy(cond)
        longer.update({name: _lengthened(value, longest) for name, value in cond.items()})
        return longer

    return [[entry._replace(cond=padded(entry.cond)) for entry in schedule] for schedule in schedules]
