"""A value that changes along an animation, written as a number or as keyframes: ``0:1, 16:1.3, 50%:1.1, -1:1``."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_KEY = re.compile(rf"(-?\d+|\d+(?:\.\d+)?%)\s*:\s*({_NUMBER})")


@dataclass(frozen=True)
class Curve:
    """``keys``: frames as they were written, with their values; a single number is a key at frame 0."""

    keys: tuple[tuple[str, float], ...]

    def values(self, frames: int) -> list[float]:
        """One value per frame: on the straight line between two keys, and held before the first and after the last.

        :raises ValueError: a key lies outside the animation, or two lie on one frame; the sentence says which.
        """
        placed: dict[int, float] = {}
        for text, value in self.keys:
            frame = frame_number(text, frames)
            if not 0 <= frame < frames:
                raise ValueError(f"frame {text} lies outside the animation's, 0 to {frames - 1}.")
            if frame in placed:
                raise ValueError(f"frame {frame} has two values.")
            placed[frame] = value
        places = sorted(placed)
        values = [placed[places[0]]] * (places[0] + 1)
        for left, right in itertools.pairwise(places):
            rise = (placed[right] - placed[left]) / (right - left)
            values += [placed[left] + rise * (frame - left) for frame in range(left + 1, right)] + [placed[right]]
        return values + [placed[places[-1]]] * (frames - len(values))


def frame_number(text: str, frames: int) -> int:
    """The frame that ``12``, ``-1`` (counted from the end) or ``50%`` (of the way to the last) names; maybe outside."""
    if text.endswith("%"):
        share = float(text[:-1]) / 100
        return round(share * (frames - 1)) if share <= 1 else frames
    number = int(text)
    return number + frames if number < 0 else number


def parse_curve(text: str) -> Curve:
    """The curve of ``1.3`` or ``0:1, 16:1.3``.

    :raises ValueError: a sentence that says which part is no key.
    """
    if re.fullmatch(_NUMBER, text.strip()):
        return Curve((("0", _finite(text.strip())),))
    keys = []
    for part in [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()] or [""]:
        match = _KEY.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is not a frame and its value. Write a number, or '0:1, 16:1.3, -1:1'.")
        keys.append((match[1], _finite(match[2])))
    return Curve(tuple(keys))


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large a number.")
    return value
