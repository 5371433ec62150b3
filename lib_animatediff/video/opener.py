"""Pillow taught to open the movies this package writes, as their first frame with the infotext.

The host opens what stands behind a picture of its gallery with Pillow when it is upscaled, sent to another tab or
dropped onto PNG Info. Only movies with an infotext of ours in them are opened; any other stays the error it was.
"""

from __future__ import annotations

from typing import IO

from PIL import Image

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.infotext import INFOTEXT_KEY
from lib_animatediff.video.codecs import pyav

_NAME = "ANIMATEDIFF MOVIE"


def register() -> None:
    """Have ``Image.open`` open our MP4 and WEBM files too; registering again changes nothing."""
    Image.register_open(_NAME, open_first_frame, _may_be_ours)


def unregister() -> None:
    """The reverse of ``register``."""
    Image.OPEN.pop(_NAME, None)
    if _NAME in Image.ID:
        Image.ID.remove(_NAME)


def _may_be_ours(prefix: bytes) -> bool:
    return prefix[4:12] == b"ftypisom" or prefix[:4] == b"\x1aE\xdf\xa3"


def open_first_frame(file: IO[bytes], _filename: str = "") -> Image.Image:
    """The first frame of a movie of ours, its infotext as ``info["parameters"]``.

    Raises SyntaxError, by which Pillow knows that a file is of another kind, for any other movie, a damaged one, and
    where PyAV is missing.
    """
    try:
        av = pyav()
        with av.open(file, metadata_errors="replace") as container:
            tags = {key.lower(): value for key, value in container.metadata.items()}
            infotext = tags.get("comment", "")
            if f"{INFOTEXT_KEY}:" not in infotext:
                raise SyntaxError("not a movie of AnimateDiff")
            image = next(container.decode(video=0)).to_image()
    except (UnsupportedError, OSError, ValueError, IndexError, StopIteration) as error:
        raise SyntaxError(f"not a movie that can be read: {error}") from error
    image.info["parameters"] = infotext
    return image
