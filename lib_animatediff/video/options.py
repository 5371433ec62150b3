"""What the user can set about the writers, and what one writer is given to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from PIL import Image


@dataclass(frozen=True)
class WriterOptions:
    """The settings of the writers; an empty ``mp4_preset`` or ``mp4_tune`` leaves the encoder's own."""

    mp4_crf: int = 23
    mp4_preset: str = ""
    mp4_tune: str = ""
    webp_quality: int = 80
    webp_lossless: bool = False
    gif_palette: bool = False
    gif_gifsicle: bool = False
    embed_infotext: bool = True


@dataclass(frozen=True)
class Animation:
    """One animation to encode.

    ``frames`` may load a frame on access; writers go through it in order and hold one or two frames at a time.
    ``plays`` is how often a GIF or WEBP plays, 0 for ever. ``infotext`` is None when none is to be embedded.
    """

    frames: Sequence[Image.Image]
    fps: Fraction
    plays: int = 0
    infotext: str | None = None
    title: str = ""
    options: WriterOptions = field(default_factory=WriterOptions)
