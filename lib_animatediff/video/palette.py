"""One palette for a whole GIF, by FFmpeg's palettegen and paletteuse filters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from lib_animatediff.errors import VideoWriteError
from lib_animatediff.video.codecs import pyav


def one_palette(frames: Iterable[Image.Image], again: Iterable[Image.Image]) -> Iterator[Image.Image]:
    """The RGB frames as paletted images that share one palette of 256 colours, dithered.

    ``frames`` and ``again`` are the same frames: the first pass chooses the colours, the second uses them, so no more
    than a frame or two is held at a time. Raises UnsupportedError without PyAV.
    """
    av = pyav()
    palette = _chosen_colours(av, frames)
    graph = av.filter.Graph()
    use = graph.add("paletteuse")
    sink = graph.add("buffersink")
    source = colours = None
    for number, frame in enumerate(again):
        if source is None:
            source, colours = (
                _source(graph, frame.size),
                _source(graph, (palette.width, palette.height), palette.format.name),
            )
            source.link_to(use, 0, 0)
            colours.link_to(use, 0, 1)
            use.link_to(sink)
            graph.configure()
            colours.push(palette)
            colours.push(None)
        source.push(_picture(av, frame, number))
        yield from _paletted(av, sink)
    if source is not None:
        source.push(None)
        yield from _paletted(av, sink)


def _chosen_colours(av: Any, frames: Iterable[Image.Image]) -> Any:
    """The picture of 16x16 colours that palettegen makes of all frames."""
    graph = av.filter.Graph()
    source = None
    sink = graph.add("buffersink")
    for number, frame in enumerate(frames):
        if source is None:
            source = _source(graph, frame.size)
            generate = graph.add("palettegen", "reserve_transparent=0")
            source.link_to(generate)
            generate.link_to(sink)
            graph.configure()
        source.push(_picture(av, frame, number))
    if source is None:
        raise VideoWriteError("There are no frames to make a palette of.")
    source.push(None)
    palette = sink.pull()
    palette.pts = 0
    return palette


def _source(graph: Any, size: tuple[int, int], pixels: str = "bgra") -> Any:
    return graph.add_buffer(width=size[0], height=size[1], format=pixels, time_base=Fraction(1, 1000))


def _picture(av: Any, frame: Image.Image, number: int) -> Any:
    picture = av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24").reformat(format="bgra")
    picture.pts = number
    picture.time_base = Fraction(1, 1000)
    return picture


def _paletted(av: Any, sink: Any) -> Iterator[Image.Image]:
    """What the graph has ready, as Pillow's paletted images."""
    while True:
        try:
            frame = sink.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        indices, colours = frame.to_ndarray()
        image = Image.fromarray(np.ascontiguousarray(indices))
        # (256, 4) alpha, red, green, blue
        image.putpalette(np.ascontiguousarray(colours[:, 1:4]).tobytes())
        yield image
