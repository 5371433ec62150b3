"""What an API response holds: pictures and videos out of base64, as pixels."""

import base64
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from lib_animatediff.video.metadata import VideoInfo, probe, read_infotext


def decode(text: str) -> bytes:
    """The bytes of one entry of ``images``; the contract allows no data-URI in front."""
    assert not text.startswith("data:"), "an image of the response has a data-URI in front"
    return base64.b64decode(text, validate=True)


def container(data: bytes) -> str:
    """Which file format the first bytes announce."""
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        return "GIF"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return "MP4"
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "WEBM"
    raise AssertionError(f"not a file of a known format: {data[:16]!r}")


def pixels(data: bytes) -> np.ndarray:
    """A picture as (height, width, 3), uint8."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def png_text(data: bytes) -> str:
    """The infotext in a PNG, or an empty text."""
    return Image.open(io.BytesIO(data)).info.get("parameters", "")


def difference(a: np.ndarray, b: np.ndarray) -> int:
    """The largest difference of two pictures or stacks of pictures, in steps of 255."""
    assert a.shape == b.shape, f"shapes differ: {a.shape} and {b.shape}"
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def _as_file(data: bytes, read):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"animation.{container(data).lower()}"
        path.write_bytes(data)
        return read(path)


def facts(data: bytes) -> VideoInfo:
    """Frames, frames per second and size of an animation."""
    return _as_file(data, probe)


def infotext_inside(data: bytes) -> str | None:
    """The infotext a file carries, as the extension's own reader finds it."""
    return _as_file(data, read_infotext)


def base64_picture(colour: int = 0, size: int = 64) -> str:
    """A picture with a gradient, as an API client sends it."""
    line = (np.arange(size) * 255 // size).astype(np.uint8)
    grey = np.full((size, size), colour, np.uint8)
    picture = np.stack([np.broadcast_to(line, (size, size)), np.broadcast_to(line[:, None], (size, size)), grey], -1)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def base64_mask(size: int = 64) -> str:
    """A mask whose right half is to be painted anew."""
    picture = np.zeros((size, size), np.uint8)
    picture[:, size // 2 :] = 255
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()
