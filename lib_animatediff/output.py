"""The frames of a finished generation as files, and as what the host shows or answers."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lib_animatediff.errors import AnimateDiffError, VideoWriteError
from lib_animatediff.request import AnimationRequest
from lib_animatediff.video.codecs import pyav
from lib_animatediff.video.formats import FORMATS
from lib_animatediff.video.interpolate import Between, interpolate
from lib_animatediff.video.names import reserve_stem
from lib_animatediff.video.write import WriteResult, WriterOptions, write_animation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Video:
    """One animation of a generation: its frames as the host made them and the files written from them."""

    frames: list[Image.Image]
    infotexts: list[str]
    results: list[WriteResult]

    def files(self) -> list[Path]:
        """The files that play, in the order of the format table."""
        written = {result.format: result.path for result in self.results if result.path}
        return [written[entry.name] for entry in FORMATS if entry.in_api and entry.name in written]


def unwritable(formats: Sequence[str]) -> dict[str, str]:
    """Of the files asked for, those whose encoder is missing: format -> sentence that says what to install."""
    sentences = {}
    for entry in FORMATS:
        if entry.name in formats and entry.needs == "PyAV":
            try:
                pyav()
            except VideoWriteError as error:
                sentences[entry.name] = str(error)
    return sentences


def split_frames(processed: Any, batches: Sequence[int]) -> list[list[Image.Image]]:
    """The frames of each batch of a generation, without a grid in front and masks in between.

    ``batches``: frames per batch. With the host's options ``return_mask`` and ``return_mask_composite`` every frame is
    followed by one or two more pictures.
    """
    pictures = processed.images[processed.index_of_first_image :]
    per_frame = max(1, len(pictures) // max(1, sum(batches)))
    frames = pictures[::per_frame]
    videos, start = [], 0
    for length in batches:
        videos.append(frames[start : start + length])
        start += length
    return videos


def played_frames(frames: list[Image.Image], request: AnimationRequest, between: Between | str) -> list[Image.Image]:
    """The frames in playing order: interpolated, and run backwards to the start for a short closed loop.

    ``between``: the method of ``video.interpolate`` that makes the frames between two.

    A closed loop (``A``) of one context window cannot be closed by windows that wrap, so it swings back: all frames,
    then all but the two ends in reverse (contract of the incumbent).
    """
    if request.interp != "Off":
        frames = list(interpolate(frames, request.interp_x, between))
    if request.closed_loop == "A" and request.video_length <= request.batch_size:
        frames = frames + frames[-2:0:-1]
    return frames


def write_videos(
    processed: Any,
    batches: Sequence[int],
    request: AnimationRequest,
    folder: str,
    options: WriterOptions,
    *,
    png: bool,
    between: Between | str,
) -> list[Video]:
    """Write each batch as one video below ``folder``.

    ``png``: PNG frames are ours to write, not the host's. ``between``: see ``played_frames``.
    """
    formats = [name for name in request.format if name != "Frame" and (name != "PNG" or png)]
    videos, first = [], 0
    for frames in split_frames(processed, batches):
        start = processed.index_of_first_image + first
        infotexts = processed.infotexts[start : start + len(frames)]
        results = []
        if formats:
            try:
                with reserve_stem(folder, processed.all_seeds[first], request.request_id) as stem:
                    results = write_animation(
                        played_frames(frames, request, between),
                        stem,
                        formats,
                        fps=request.fps,
                        loop=request.loop_number,
                        infotext=infotexts[0] if infotexts else None,
                        options=options,
                    )
            except (OSError, AnimateDiffError) as error:
                logger.exception("AnimateDiff: the animation was not written")
                results = [WriteResult(name, None, error=f"{name} was not written: {error}.") for name in formats]
        videos.append(Video(frames, infotexts, results))
        first += len(frames)
    return videos


def show(processed: Any, videos: list[Video], request: AnimationRequest, *, is_api: bool, keep_pictures: bool) -> None:
    """Put the videos where the host looks for its images.

    - API: each file whole, base64, in the order GIF MP4 WEBP WEBM; with ``Frame``, the frames after them. Seeds and
      infotexts stay per frame.
    - page: one picture per file, which the host serves from that file (``already_saved_as``). A host with a player of
      its own (Forge Neo: ``processed.video_path``, shown in place of the gallery) gets a single MP4 or WEBM there.
    - ``keep_pictures``: a script (X/Y/Z plot ...) goes on working with the images: one picture per video.

    Without a playable file (PNG alone) the frames stay the answer.
    """
    for sentence in [r.error or r.note for video in videos for r in video.results if r.error or r.note]:
        logger.warning(sentence)
        processed.comments += f"{sentence}\n"
        processed.extra_generation_params.setdefault("AnimateDiff errors", []).append(sentence)
    if not any(video.files() for video in videos):
        return
    processed.index_of_first_image = 0
    if is_api and not keep_pictures:
        answers: list[Any] = [
            base64.b64encode(path.read_bytes()).decode("ascii") for video in videos for path in video.files()
        ]
        if "Frame" in request.format:
            answers += [frame for video in videos for frame in video.frames]
        processed.images = answers
        return
    pictures, infotexts = [], []
    for video in videos:
        files = video.files()
        for path in files[:1] if keep_pictures else files:
            picture = video.frames[0].copy()
            picture.already_saved_as = str(path)
            pictures.append(picture)
            infotexts.append(video.infotexts[0])
    processed.images, processed.infotexts = pictures, infotexts
    movies = [str(path) for video in videos for path in video.files() if path.suffix in (".mp4", ".webm")]
    if hasattr(processed, "video_path") and len(videos) == 1 and movies and not keep_pictures:
        processed.video_path = movies[0]
