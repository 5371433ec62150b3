"""Animated GIF, written frame by frame.

Pillow compresses each frame; the file around the frames is written here, because Pillow's own animation writer keeps
all frames in memory, merges equal neighbours and rounds every delay down.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from lib_animatediff.errors import VideoWriteError
from lib_animatediff.video.frames import gif_times, opaque, same_size
from lib_animatediff.video.options import Animation
from lib_animatediff.video.palette import one_palette

_EXTENSION, _DESCRIPTOR, _TRAILER = 0x21, 0x2C, b"\x3b"


class _Picture(NamedTuple):
    palette: bytes
    """2 to 256 colours, a power of two of them, 3 bytes each."""
    interlaced: int
    data: bytes
    """LZW code size and sub-blocks, the terminating empty one included."""


def write_gif(animation: Animation, path: Path) -> str | None:
    """Writes the animation to ``path``; returns a sentence if the file is good but something asked for was left out."""
    times = gif_times(len(animation.frames), animation.fps)
    # Chosen before anything is loaded: above 50 frames per second some frames are not shown.
    frames = same_size(opaque(animation.frames[number]) for number, _ in times)
    if animation.options.gif_palette:
        again = same_size(opaque(animation.frames[number]) for number, _ in times)
        indexed = one_palette(frames, again)
    else:
        indexed = (frame.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE) for frame in frames)

    with path.open("wb") as file:
        shared = b""
        for frame, (number, delay) in zip(indexed, times, strict=True):
            picture = _compress(frame)
            if number == 0:
                shared = picture.palette
                file.write(_head(frame.size, shared, animation))
            file.write(struct.pack("<BBBBHBB", _EXTENSION, 0xF9, 4, 1 << 2, delay, 0, 0))
            local = b"" if picture.palette == shared else picture.palette
            flags = picture.interlaced | (0x80 | _size_bits(local) if local else 0)
            file.write(struct.pack("<BHHHHB", _DESCRIPTOR, 0, 0, *frame.size, flags) + local + picture.data)
        file.write(_TRAILER)
    return _gifsicle(path) if animation.options.gif_gifsicle else None


def _head(size: tuple[int, int], palette: bytes, animation: Animation) -> bytes:
    """Everything before the first frame: screen, shared palette, loop count, comment."""
    if max(size) > 0xFFFF:
        raise VideoWriteError(f"A GIF cannot be larger than 65535 pixels a side, the frames are {size[0]}x{size[1]}.")
    parts = [b"GIF89a", struct.pack("<HHBBB", *size, 0x80 | 0x70 | _size_bits(palette), 0, 0), palette]
    # The block counts the repetitions after the first play, 0 is for ever; a GIF without the block plays once.
    if animation.plays != 1:
        repetitions = min(0xFFFF, max(0, animation.plays - 1))
        parts += [struct.pack("<BBB", _EXTENSION, 0xFF, 11), b"NETSCAPE2.0", struct.pack("<BBHB", 3, 1, repetitions, 0)]
    if animation.infotext:
        text = animation.infotext.encode("utf-8")
        parts.append(struct.pack("<BB", _EXTENSION, 0xFE))
        for start in range(0, len(text), 255):
            block = text[start : start + 255]
            parts += [struct.pack("<B", len(block)), block]
        parts.append(b"\0")
    return b"".join(parts)


def _size_bits(palette: bytes) -> int:
    """The three bits of a palette's size: 2 ** (bits + 1) colours."""
    return (len(palette) // 3).bit_length() - 2


def _compress(frame: Image.Image) -> _Picture:
    """Has Pillow save one paletted frame as a GIF of its own and takes the picture out of it."""
    buffer = BytesIO()
    frame.save(buffer, "GIF", optimize=False, interlace=0)
    gif = buffer.getvalue()
    position, palette = 13, b""
    if gif[10] & 0x80:
        palette = gif[13 : 13 + (6 << (gif[10] & 7))]
        position += len(palette)
    while gif[position] == _EXTENSION:
        position = _skip_blocks(gif, position + 2)
    flags = gif[position + 9]
    position += 10
    if flags & 0x80:
        palette = gif[position : position + (6 << (flags & 7))]
        position += len(palette)
    return _Picture(palette, flags & 0x40, gif[position : _skip_blocks(gif, position + 1)])


def _skip_blocks(gif: bytes, position: int) -> int:
    while gif[position]:
        position += gif[position] + 1
    return position + 1


def _gifsicle(path: Path) -> str | None:
    """Has gifsicle make the file smaller, without loss. The file stays as it is when that fails."""
    program = shutil.which("gifsicle")
    if program is None:
        return "The GIF was not optimised: gifsicle is not installed. Install it, or switch the setting off."
    smaller = path.with_name(path.name + ".gifsicle")
    try:
        done = subprocess.run(
            [program, "--no-warnings", "-O3", str(path), "-o", str(smaller)],
            capture_output=True,
            timeout=600,
            check=False,
        )
        if done.returncode == 0 and smaller.is_file() and 0 < smaller.stat().st_size < path.stat().st_size:
            smaller.replace(path)
        if done.returncode != 0:
            reason = done.stderr.decode("utf-8", "replace").strip().splitlines()
            return f"The GIF was not optimised: gifsicle failed{': ' + reason[-1] if reason else ''}."
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"The GIF was not optimised: gifsicle failed: {error}."
    finally:
        smaller.unlink(missing_ok=True)
    return None
