"""An animation as files: every format on its own, whole or not at all."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from PIL import Image, PngImagePlugin

from lib_animatediff.errors import AnimateDiffError, VideoWriteError
from lib_animatediff.video.formats import format_named
from lib_animatediff.video.frames import PNG_MODES, opaque
from lib_animatediff.video.gif import write_gif
from lib_animatediff.video.movie import write_mp4, write_webm
from lib_animatediff.video.options import Animation, WriterOptions
from lib_animatediff.video.webp import write_webp

__all__ = ["WriteResult", "WriterOptions", "write_animation"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriteResult:
    """What became of one format: ``path`` is the file (of PNG the folder of frames), None where there is none.

    ``error`` says why there is no file. ``note`` says what was left out of a file that is there.
    """

    format: str
    path: Path | None
    error: str | None = None
    note: str | None = None


def write_animation(
    frames: Sequence[Image.Image],
    stem: Path,
    formats: Sequence[str],
    *,
    fps: float | Fraction,
    loop: int = 0,
    infotext: str | None = None,
    options: WriterOptions | None = None,
) -> list[WriteResult]:
    """Writes the frames in each of ``formats`` next to each other, as ``{stem}.gif`` and so on.

    PNG makes the folder ``{stem}/`` with ``00000.png`` ...; "Frame" makes no file. ``frames`` may load its images on
    access. ``fps`` is from 0.01 to 1000, ``loop`` is how often a GIF or WEBP plays, 0 for ever. Every file is
    written under a temporary name in its folder and renamed when it is whole, replacing one of that name. A format
    that fails has its error in its result and costs the others nothing. Raises VideoWriteError when there is nothing
    to write at all: no frames, or an ``fps`` or ``loop`` out of bounds.
    """
    options = options or WriterOptions()
    if not len(frames):
        raise VideoWriteError("There are no frames to write.")
    if not 0.01 <= fps <= 1000:
        raise VideoWriteError(f"An animation cannot have {fps} frames per second. Choose from 1 to 240.")
    if loop < 0:
        raise VideoWriteError(f"A loop count cannot be {loop}. Choose 0 for ever, or how often to play.")
    text = _writable(infotext)
    animation = Animation(
        frames=frames,
        fps=Fraction(fps).limit_denominator(1001),
        plays=loop,
        infotext=text if options.embed_infotext else None,
        title=stem.name,
        options=options,
    )
    return [_write_one(name, animation, stem, text) for name in dict.fromkeys(formats)]


def _writable(infotext: str | None) -> str | None:
    """The infotext without what no file can hold: half surrogate pairs and NUL, at which C strings end."""
    return infotext.encode("utf-8", "replace").decode("utf-8").replace("\0", "") if infotext else None


def _write_one(name: str, animation: Animation, stem: Path, infotext: str | None) -> WriteResult:
    try:
        entry = format_named(name)
        if entry.api_only:
            return WriteResult(name, None)
        if name == "TXT":
            # Asked for by name, so written even where infotext is not to be embedded.
            def write(_: Animation, path: Path) -> None:
                if not infotext:
                    raise VideoWriteError("There is no infotext to write.")
                path.write_bytes(infotext.encode("utf-8") + b"\n")
        else:
            write = _WRITERS[name]
        target = stem if name == "PNG" else stem.with_name(stem.name + entry.extension)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _whole_or_nothing(target) as temporary:
            note = write(animation, temporary)
        return WriteResult(name, target, note=note)
    except AnimateDiffError as error:
        logger.error("AnimateDiff: %s was not written. %s", name, error)
        return WriteResult(name, None, error=f"{name} was not written. {error}")
    except MemoryError:
        logger.exception("AnimateDiff: %s was not written", name)
        return WriteResult(name, None, error=f"{name} was not written: there is not enough memory for it.")
    except Exception as error:
        # An encoder can fail in any way; whatever it is must not cost the other formats.
        logger.exception("AnimateDiff: %s was not written", name)
        return WriteResult(name, None, error=f"{name} was not written: {str(error) or type(error).__name__}.")


def _write_png_folder(animation: Animation, folder: Path) -> None:
    folder.mkdir()
    for number, frame in enumerate(animation.frames):
        chunks = PngImagePlugin.PngInfo()
        if animation.infotext:
            chunks.add_text("parameters", animation.infotext)
        picture = frame if frame.mode in PNG_MODES else opaque(frame)
        picture.save(folder / f"{number:05}.png", "PNG", pnginfo=chunks)


_WRITERS: dict[str, Callable[[Animation, Path], str | None]] = {
    "GIF": write_gif,
    "MP4": write_mp4,
    "WEBP": write_webp,
    "WEBM": write_webm,
    "PNG": _write_png_folder,
}


@contextmanager
def _whole_or_nothing(target: Path) -> Iterator[Path]:
    """A temporary name beside ``target``, renamed to it at the end; on any exception, Ctrl+C included, removed."""
    mark = f"{secrets.token_hex(4)}.part"
    temporary = target.with_name(f".{target.name}.{mark}")
    try:
        yield temporary
        if target.is_dir():
            # A folder can only be replaced by way of a third name.
            former = target.with_name(f".{target.name}.former.{mark}")
            os.replace(target, former)
            try:
                os.replace(temporary, target)
            except BaseException:
                os.replace(former, target)
                raise
            shutil.rmtree(former, ignore_errors=True)
        else:
            os.replace(temporary, target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
