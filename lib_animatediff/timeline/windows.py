"""Context windows: which frames the motion module sees together, at every step of sampling.

A motion module was trained on clips of ``context`` frames. A longer animation is sampled in overlapping windows of that
length; their results are averaged (``fuse.py``). The schedule is the "uniform" one of the AnimateDiff tools: windows
one hop apart, the whole row of them moved from step to step so that borders do not stay in one place.
"""

from collections.abc import Iterable

from lib_animatediff.errors import RequestError

CLOSED_LOOP_WORDS = ("N", "R-P", "R+P", "A")


def context_windows(
    step: int, frames: int, context: int, stride: int, overlap: int, closed_loop: str
) -> list[list[int]]:
    """The windows of one sampling step, each a list of frame numbers in the order the motion module sees them.

    ``closed_loop``:

    - ``N``    the animation is a line: every window is strictly increasing, the end is never joined to the start.
    - ``R-P``  the animation is a ring cut at one place, which moves from step to step: windows may run around the end,
      and the two that meet at the cut may overlap by less than ``overlap`` frames ("reduce" the loop).
    - ``R+P``  the windows of ``R-P``; the word differs in how prompts travel from the last key to the first.
    - ``A``    a ring without a cut: the last and the first window overlap by ``overlap`` frames as all others do.

    ``overlap`` is the number of frames that neighbours share, -1 for ``context // 4``. ``stride`` adds dilated windows
    of every 2nd, 4th ... ``2**(stride - 1)``-th frame to those of neighbouring frames, as far as such a window fits
    into the animation; one that would have to visit a frame twice is not made.

    For any argument within bounds: every frame is in at least one window, no window holds a frame twice, and every
    window has exactly ``min(context, frames)`` frames. With stride 1 consecutive windows share at least ``overlap``
    frames. An animation no longer than the context is one window.

    Windows of neighbouring frames per step, with ``hop = context - overlap``: ``ceil((frames - overlap) / hop)`` for
    R-P and R+P, ``ceil(frames / hop)`` for A, at most one more than R-P for N. An overlap of ``context - 1`` is thus
    one window, and one call of the UNet, per frame. Dilation k adds about ``frames / (context * k - overlap)``.

    :raises RequestError: a field is out of bounds (frames are named ``video_length``, the context ``batch_size``).
    :raises ValueError: a negative step.
    """
    if step < 0:
        raise ValueError(f"step {step} is negative")
    overlap = _checked_overlap(frames, context, stride, overlap, closed_loop)
    if frames <= context:
        return [list(range(frames))]
    offset = ordered_halving(step)
    windows = []
    for dilation in _dilations(frames, context, stride):
        hop = context * dilation - overlap
        if closed_loop == "N":
            starts = _starts_on_line(frames - (context - 1) * dilation - 1, hop, offset)
        else:
            starts = _starts_on_ring(frames, dilation, hop, 0 if closed_loop == "A" else overlap, offset)
        windows.extend([(start + i * dilation) % frames for i in range(context)] for start in starts)
    return windows


def ordered_halving(step: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8, 5/8 ...: the 64 bits of ``step`` reversed, as a fraction of one (van der Corput, base 2).

    Whatever the number of steps, the values seen so far cover 0 to 1 evenly.
    """
    reversed_bits = int(f"{step & (1 << 64) - 1:064b}"[::-1], 2)
    return reversed_bits / (1 << 64)


def _dilations(frames: int, context: int, stride: int) -> list[int]:
    """1, 2, 4 ... 2**(stride - 1), up to the last at which a window does not overtake its own start.

    A window of one frame cannot be dilated: it would only repeat what dilation 1 does.
    """
    dilations = [1]
    while context > 1 and len(dilations) < stride and (context - 1) * dilations[-1] * 2 < frames:
        dilations.append(dilations[-1] * 2)
    return dilations


def _starts_on_ring(frames: int, dilation: int, hop: int, reduce: int, offset: float) -> Iterable[int]:
    """Starts one hop apart, once around the ring from a first start that moves with ``offset``.

    With ``reduce`` equal to the overlap the row ends as soon as it has covered the ring; with 0 it goes on until the
    last window also overlaps the first by the overlap.
    """
    turn = round(frames * offset)
    return range(int(offset * dilation) + turn, frames + turn - reduce, hop)


def _starts_on_line(last: int, hop: int, offset: float) -> Iterable[int]:
    """Starts one hop apart between 0 and ``last``, moved by ``offset`` hops, and always both ends.

    The move is a fraction of the hop and not of the animation: a hop is the period of the row, so this is the move
    that visits every place of a border evenly, for any number of frames.
    """
    return sorted({0, *range(round(hop * offset), last, hop), last})


def _checked_overlap(frames: int, context: int, stride: int, overlap: int, closed_loop: str) -> int:
    """The overlap in frames; raises for whatever is out of bounds."""
    for field, value in (("video_length", frames), ("batch_size", context), ("stride", stride)):
        if value < 1:
            raise RequestError(field, f"{value} is too small; use 1 or more.")
    if not -1 <= overlap < context:
        raise RequestError(
            "overlap",
            f"{overlap} frames do not fit a context of {context}; use 0 to {context - 1}, or -1 for {context // 4}.",
        )
    if closed_loop not in CLOSED_LOOP_WORDS:
        raise RequestError("closed_loop", f"{closed_loop!r} is unknown; use one of {', '.join(CLOSED_LOOP_WORDS)}.")
    return context // 4 if overlap == -1 else overlap
