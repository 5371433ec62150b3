"""Prompt travel: a prompt whose lines say what is to be seen from which frame on.

    best quality, a photo of                head, in front of every keyframe's text
    0: spring, blossoms
    8-12: summer                            held from frame 8 to 12
    # a comment
    50%: autumn                             of the way from the first frame to the last
    -1: winter, snow                        counted from the end
    highly detailed                         tail, behind every keyframe's text

The grammar is the incumbent's (sd-webui-animatediff) with comments, ranges, percentages and frames counted from the end
added. Where the incumbent takes a line that is nearly a keyframe for text, it is understood here, or refused.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lib_animatediff.errors import RequestError
from lib_animatediff.timeline.curves import frame_number

_FRAME = r"(?:-?\d+|\d+(?:\.\d+)?%)"
_KEYFRAME = re.compile(rf"(?P<start>{_FRAME})(?:\s*(?:-|\.\.)\s*(?P<end>{_FRAME}))?\s*:(?P<gap>\s*)(?P<text>.*)")
_EXTRA_NETWORK = re.compile(r"<\w+:[^>]+>")


@dataclass(frozen=True)
class Keyframe:
    """``text`` is what is to be seen from frame ``start`` to frame ``end``, both included."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class PromptTravel:
    """The keyframes of one prompt, in order; ``wraps``: the last one leads back to the first, around the end."""

    keyframes: tuple[Keyframe, ...]
    frames: int
    wraps: bool

    def prompts(self) -> list[str]:
        """For each frame the text of the last keyframe before it, and of the first for those before that."""
        texts = []
        for frame in range(self.frames):
            passed = [key for key in self.keyframes if key.start <= frame]
            texts.append((passed or self.keyframes)[-1 if passed else 0].text)
        return texts

    def mix(self, frame: int) -> tuple[int, int, float]:
        """Two frames that hold a keyframe, and how far ``frame`` is from the first to the second, 0 to 1."""
        keys = self.keyframes
        for key in keys:
            if key.start <= frame <= key.end:
                return key.start, key.start, 0.0
        before = [key for key in keys if key.end < frame]
        after = [key for key in keys if key.start > frame]
        if len(keys) == 1 or not (self.wraps or (before and after)):
            held = (before or after)[-1 if before else 0].start
            return held, held, 0.0
        left, right = (before or keys)[-1], (after or keys)[0]
        gone = (frame - left.end) % self.frames
        return left.start, right.start, gone / ((right.start - left.end) % self.frames)


def parse_travel(prompt: str, frames: int, *, wraps: bool = False, field: str = "prompt") -> PromptTravel | None:
    """The keyframes of ``prompt``, or None for a prompt without any: an ordinary one, whatever its lines are.

    Raises RequestError, naming ``field`` and the line, for a keyframe that cannot be meant so: outside the animation,
    given twice, behind the tail, with a LoRA of its own, or a line that may be a keyframe or text (``16:9 photo``).
    """
    lines = [(number, line.strip()) for number, line in enumerate(prompt.strip().splitlines(), 1)]
    found = {number: match for number, line in lines if (match := _KEYFRAME.fullmatch(line))}
    if not any(map(_is_certain, found.values())):
        return None

    def refuse(number: int, reason: str) -> RequestError:
        return RequestError(field, f"line {number}, {dict(lines)[number]!r}: {reason}")

    first, last = min(found), max(found)
    head, tail, keyframes = [], [], []
    for number, line in lines:
        if not line or line.startswith("#"):
            continue
        if number not in found:
            if first < number < last:
                raise refuse(
                    number,
                    "a line of text between two keyframes. Text for every frame stands above the first or below the "
                    "last keyframe; a keyframe's own text stands in one line with its number.",
                )
            (head if number < first else tail).append(line)
            continue
        match = found[number]
        if not _is_certain(match):
            raise refuse(number, "put a space behind the colon if it is a keyframe, or a comma in front if it is text.")
        start = frame_number(match["start"], frames)
        end = frame_number(match["end"], frames) if match["end"] else start
        if not 0 <= start <= end < frames:
            raise refuse(number, f"its frames lie outside the animation's, 0 to {frames - 1}, or run backwards.")
        keyframes.append((number, Keyframe(start, end, match["text"].strip())))
    keyframes.sort(key=lambda entry: entry[1].start)
    for (_, one), (number, other) in itertools.pairwise(keyframes):
        if other.start <= one.end:
            raise refuse(number, f"frame {other.start} has a keyframe already.")
    for number, key in keyframes[1:]:
        if network := _EXTRA_NETWORK.search(key.text):
            raise refuse(
                number,
                f"{network[0]} cannot come and go with a keyframe. Put it above the first keyframe: it then acts on "
                "all frames.",
            )
    return PromptTravel(tuple(_with_text_around(key, head, tail) for _, key in keyframes), frames, wraps)


def _is_certain(match: re.Match[str]) -> bool:
    """Whether a line is a keyframe for sure: ``16:9`` may be the shape of a picture, ``12:30`` the time."""
    return bool(match["gap"]) or not match["text"][:1].isdigit()


def _with_text_around(key: Keyframe, head: Sequence[str], tail: Sequence[str]) -> Keyframe:
    parts = [part.strip().rstrip(",").rstrip() for part in (*head, key.text, *tail)]
    return Keyframe(key.start, key.end, ", ".join(part for part in parts if part))
