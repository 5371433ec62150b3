"""Small pictures for the panel, as SVG: context windows, and curves; time runs from left to right."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Sequence

STEPS = 20

_WIDTH, _ROW, _GAP, _MARGIN = 480, 5, 7, 34
_MOST_BARS = 60


def windows_picture(windows: Callable[[int, int], Sequence[Sequence[int]]], frames: int) -> str:
    """SVG of the first steps of sampling in ``STEPS`` steps, as many as have room; equal ones are drawn once.

    A bar is as long as its window, and cut where the window leaves frames out. ``windows`` takes a step and the number
    of steps.
    """
    rows, labels, y = [], [], 2
    scale = (_WIDTH - _MARGIN) / frames
    for of_steps, group in itertools.groupby(range(STEPS), key=lambda step: windows(step, STEPS)):
        steps = [step + 1 for step in group]
        if rows and len(rows) + len(of_steps) > _MOST_BARS:
            break
        label = f"{steps[0]}-{steps[-1]}" if len(steps) > 1 else f"{steps[0]}"
        labels.append(f'<text x="0" y="{y + _ROW}" font-size="9" fill="currentColor">{label}</text>')
        for window in of_steps:
            for first, count in _runs(window):
                rows.append(
                    f'<rect x="{_MARGIN + first * scale:.1f}" y="{y}" width="{max(count * scale - 0.5, 0.5):.1f}" '
                    f'height="{_ROW - 1}" rx="1" fill="currentColor" opacity="0.65"/>'
                )
            y += _ROW
        y += _GAP
    return (
        f'<svg viewBox="0 0 {_WIDTH} {y}" width="100%" role="img" aria-label="Context windows of some steps">'
        f"<title>Frames from left to right; a bar is a context window, a group of bars a step</title>"
        f"{''.join(labels)}{''.join(rows)}</svg>"
    )


def curve_picture(title: str, values: Sequence[float], low: float, high: float) -> str:
    """SVG of one value per frame between ``low`` and ``high``, the ends of the scale where the values stay inside."""
    bottom, top = min(low, *values), max(high, *values)
    height, right = 44, _WIDTH - 2

    def y(value: float) -> float:
        return 4 + (top - value) / ((top - bottom) or 1) * (height - 8)

    xs = [_MARGIN + (right - _MARGIN) * i / max(1, len(values) - 1) for i in range(len(values))]
    points = " ".join(f"{x:.1f},{y(value):.1f}" for x, value in zip(xs, values, strict=True))
    if len(values) == 1:
        points += f" {right},{y(values[0]):.1f}"
    labels = "".join(
        f'<text x="0" y="{y(value) + 3:.1f}" font-size="9" fill="currentColor">{value:g}</text>'
        for value in (top, bottom)
    )
    labels += f'<text x="{_MARGIN}" y="{y(top) + 3:.1f}" font-size="9" fill="currentColor">{html.escape(title)}</text>'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" role="img" aria-label="Value of each frame">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5" opacity="0.8"/>'
        f"{labels}</svg>"
    )


def _runs(window: Sequence[int]) -> list[tuple[int, int]]:
    """Stretches of neighbouring frames: first frame and length of each."""
    runs: list[list[int]] = []
    for frame in sorted(window):
        if runs and frame == sum(runs[-1]):
            runs[-1][1] += 1
        else:
            runs.append([frame, 1])
    return [(first, count) for first, count in runs]
