"""MP4 (H.264) and WEBM (VP9) by PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.video.codecs import pyav
from lib_animatediff.video.frames import even_rgb, same_size, yuv420p
from lib_animatediff.video.options import Animation

# What `frames.yuv420p` makes; a player that is not told guesses by the size of the picture.
_COLOUR = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709", "color_range": "tv"}


def write_mp4(animation: Animation, path: Path) -> None:
    """Writes H.264 in an MP4 whose index comes first, so that a browser plays it while it loads."""
    options = animation.options
    settings = {"crf": str(options.mp4_crf)}
    if options.mp4_preset:
        settings["preset"] = options.mp4_preset
    if options.mp4_tune:
        settings["tune"] = options.mp4_tune
    metadata = {"comment": animation.infotext} if animation.infotext else {}
    _write(
        animation,
        path,
        container_format="mp4",
        codec="libx264",
        settings=settings,
        container_options={"movflags": "+faststart"},
        metadata=metadata,
    )


def write_webm(animation: Animation, path: Path) -> None:
    """Writes VP9 of constant quality in a WEBM."""
    settings = {"crf": "24", "b": "0", "row-mt": "1", "deadline": "good", "cpu-used": "4"}
    metadata = {"title": animation.title, "comment": animation.infotext} if animation.infotext else {}
    _write(
        animation,
        path,
        container_format="webm",
        codec="libvpx-vp9",
        settings=settings,
        container_options={},
        metadata=metadata,
    )


def _write(
    animation: Animation,
    path: Path,
    *,
    container_format: str,
    codec: str,
    settings: dict[str, str],
    container_options: dict[str, str],
    metadata: dict[str, str],
) -> None:
    av = pyav()
    if codec not in av.codecs_available:
        raise UnsupportedError(
            f"This PyAV was built without {codec}. Run `pip install --force-reinstall --no-deps av` for the usual one."
        )
    with av.open(str(path), "w", format=container_format, options=container_options) as container:
        container.metadata.update(metadata)
        stream = None
        for number, frame in enumerate(same_size(animation.frames)):
            rgb = even_rgb(frame)
            if stream is None:
                stream = container.add_stream(codec, rate=animation.fps, options={**settings, **_COLOUR})
                stream.height, stream.width = rgb.shape[:2]
                stream.pix_fmt = "yuv420p"
            picture: Any = av.VideoFrame.from_ndarray(yuv420p(rgb), format="yuv420p")
            picture.pts = number
            picture.time_base = 1 / animation.fps
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode())
