"""Reading back what the writers put into a file: the infotext, and the facts of the animation."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.video.codecs import pyav
from lib_animatediff.video.exif import load_user_comment

MOVIES = frozenset({".mp4", ".webm", ".mkv", ".mov", ".m4v"})


@dataclass(frozen=True)
class VideoInfo:
    """``fps`` is the mean over the whole file, None where the file has no times (single images, folders)."""

    frames: int
    fps: float | None
    size: tuple[int, int]


def read_infotext(path: Path) -> str | None:
    """The infotext in a file this package writes, or in the first frame of a folder of PNG frames.

    None when the file holds none. Raises OSError when it is missing, and UnsupportedError when it is damaged, of
    another kind, or a movie where PyAV is missing.
    """
    path = Path(path)
    if path.is_dir():
        return read_infotext(_frames_in(path)[0])
    if path.suffix.lower() == ".txt":
        return path.read_bytes().decode("utf-8", "replace").rstrip("\n") or None
    if path.suffix.lower() in MOVIES:
        with _open_movie(path) as container:
            tags = {key.lower(): value for key, value in container.metadata.items()}
        return tags.get("comment") or None
    with _open_image(path) as image:
        parameters = image.info.get("parameters")
        if parameters:
            return str(parameters)
        if image.info.get("exif"):
            try:
                return load_user_comment(image.info["exif"])
            except (ValueError, OSError) as error:
                raise UnsupportedError(f"{path.name} has an EXIF block that cannot be read: {error}") from error
        comment = image.info.get("comment")
    if isinstance(comment, bytes):
        comment = comment.decode("utf-8", "replace")
    return comment or None


def probe(path: Path) -> VideoInfo:
    """Number of frames, frames per second and (width, height) of an animation, an image or a folder of PNG frames.

    Raises OSError when the file is missing, and UnsupportedError when it is damaged, of another kind, or a movie
    where PyAV is missing.
    """
    path = Path(path)
    if path.is_dir():
        frames = _frames_in(path)
        with _open_image(frames[0]) as image:
            return VideoInfo(len(frames), None, image.size)
    if path.suffix.lower() in MOVIES:
        with _open_movie(path) as container:
            if not container.streams.video:
                raise UnsupportedError(f"{path.name} has no picture in it.")
            stream = container.streams.video[0]
            # Not every container says how many frames it has; packets need no decoding.
            count = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
            rate = stream.average_rate or stream.guessed_rate
            return VideoInfo(count, float(rate) if rate else None, (stream.width, stream.height))
    with _open_image(path) as image:
        count, milliseconds = getattr(image, "n_frames", 1), Fraction(0)
        for number in range(count):
            image.seek(number)
            # A WEBP frame knows its duration only once it is decoded.
            image.load()
            milliseconds += Fraction(image.info.get("duration", 0))
        fps = float(1000 * count / milliseconds) if milliseconds else None
        return VideoInfo(count, fps, image.size)


def _frames_in(folder: Path) -> list[Path]:
    frames = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() == ".png")
    if not frames:
        raise UnsupportedError(f"The folder {folder.name} has no PNG frames in it.")
    return frames


def _open_image(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise UnsupportedError(f"{path.name} is not an image or animation that can be read.") from error


def _open_movie(path: Path):
    # Opened by Python first, so that a missing file is the usual FileNotFoundError.
    with path.open("rb"):
        av = pyav()
    try:
        return av.open(str(path), metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UnsupportedError(f"{path.name} is not a video that can be read: {error}") from error
