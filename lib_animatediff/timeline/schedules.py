"""Which schedule of context windows rules which step, and what each of them makes of an animation.

- ``uniform``   windows one hop apart whose borders move from step to step (``windows.py``)
- ``static``    the same windows at every step: those of the first step of ``uniform``
- ``batched``   no overlap: the animation in as few pieces as the context allows, as equal as they can be
- ``shuffled``  frames drawn at random, anew at every step, each window in order of time: every frame meets every other
                while the noise is high, when only the layout is decided; use it for the first steps

A schedule is written ``uniform``, or for a part of the steps and then another, ``shuffled 10%, uniform``.
"""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import dataclass

from lib_animatediff.timeline.windows import context_windows

SCHEDULES = ("uniform", "static", "batched", "shuffled")

_PHASE = re.compile(r"([a-z]+)(?:\s+(\d+(?:\.\d+)?)\s*%)?", re.IGNORECASE)


@dataclass(frozen=True)
class Phase:
    """``schedule`` rules until this share of the steps, 0 to 1."""

    schedule: str
    until: float


def parse_schedule(text: str) -> tuple[Phase, ...]:
    """The phases of ``shuffled 10%, uniform``: each names where it ends, the last one ends with the steps.

    :raises ValueError: a sentence that says what is wrong with which part.
    """
    parts = [part.strip() for part in text.split(",")]
    phases: list[Phase] = []
    for i, part in enumerate(parts):
        match = _PHASE.fullmatch(part)
        name = match[1].lower() if match else part
        if name not in SCHEDULES:
            raise ValueError(f"{part!r} is no schedule. Use one of {', '.join(SCHEDULES)}, or 'shuffled 10%, uniform'.")
        is_last = i == len(parts) - 1
        if is_last and match[2] is None:
            until = 1.0
        elif match[2] is None:
            raise ValueError(f"{part!r} does not say where it ends and {parts[i + 1]!r} begins. Write '{name} 10%'.")
        else:
            until = float(match[2]) / 100
        if not (phases[-1].until if phases else 0) < until <= 1:
            raise ValueError(f"{part!r} does not end behind the one before it, or ends after 100%.")
        phases.append(Phase(name, until))
    if phases[-1].until < 1:
        raise ValueError(f"nothing is said of the steps behind {parts[-1]!r}. Add a schedule, such as 'uniform'.")
    return tuple(phases)


def windows_at(
    phases: tuple[Phase, ...],
    step: int,
    total_steps: int,
    *,
    frames: int,
    context: int,
    stride: int,
    overlap: int,
    closed_loop: str,
) -> list[list[int]]:
    """The windows of one of ``total_steps`` steps; the other arguments and the promises are ``context_windows``'s.

    Windows of ``batched`` may be shorter than the context; ``static`` with a closed loop is a ring, as ``uniform`` is;
    ``batched`` and ``shuffled`` know neither loop nor stride nor overlap.
    """
    done = step / max(1, total_steps)
    phase = next((phase for phase in phases if done < phase.until), phases[-1])
    if phase.schedule in ("uniform", "static"):
        of_step = step if phase.schedule == "uniform" else 0
        return context_windows(of_step, frames, context, stride, overlap, closed_loop)
    if phase.schedule == "batched":
        count = -(-frames // context)
        borders = [round(i * frames / count) for i in range(count + 1)]
        return [list(range(start, end)) for start, end in itertools.pairwise(borders)]
    return _shuffled(step, frames, context)


def _shuffled(step: int, frames: int, context: int) -> list[list[int]]:
    """A permutation of the frames in windows of ``context``; the last one is filled up with frames of the first."""
    order = random.Random(f"{step} {frames} {context}").sample(range(frames), frames)
    windows = [order[start : start + context] for start in range(0, frames, context)]
    windows[-1] += order[: min(context, frames) - len(windows[-1])]
    return [sorted(window) for window in windows]
