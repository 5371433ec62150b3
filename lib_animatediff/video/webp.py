"""Animated WEBP by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, features

from lib_animatediff.errors import VideoWriteError
from lib_animatediff.video.exif import dump_user_comment
from lib_animatediff.video.frames import frame_times, same_size, with_alpha
from lib_animatediff.video.options import Animation


class _Reel:
    """All frames after the first as one many-paged image.

    Pillow makes a list of the images it is to append, which would load every frame; pages it asks for one by one.
    """

    def __init__(self, frames: Sequence[Image.Image]):
        self._frames = iter(same_size(frames))
        self._shown = with_alpha(next(self._frames))
        self._page = -1
        self.n_frames = len(frames) - 1

    def seek(self, page: int) -> None:
        if page == self._page + 1:
            self._shown = with_alpha(next(self._frames))
            self._page = page
        elif page != self._page:
            raise EOFError(f"pages come in order, {page} does not follow {self._page}")

    def tell(self) -> int:
        return max(0, self._page)

    def __getattr__(self, name: str):
        return getattr(self._shown, name)


def write_webp(animation: Animation, path: Path) -> None:
    """Writes the animation to ``path``. libwebp makes one frame, shown longer, of equal neighbours."""
    if not features.check("webp"):
        raise VideoWriteError("This Pillow has no WEBP. Reinstall Pillow of the same version from a wheel.")
    frames, options = animation.frames, animation.options
    times = frame_times(len(frames), animation.fps, 1000)
    comment = {"exif": dump_user_comment(animation.infotext)} if animation.infotext else {}
    # Lossy frames that build on each other leave ghosts of what has moved on, and save nothing where all pixels change.
    whole_frames = {} if options.webp_lossless else {"kmax": 1}
    # A copy, because the image of a many-paged file would be saved with all its own pages.
    with_alpha(frames[0]).copy().save(
        path,
        "WEBP",
        save_all=True,
        append_images=[_Reel(frames)] if len(frames) > 1 else [],
        duration=times if len(times) > 1 else times[0],
        loop=min(0xFFFF, animation.plays),
        quality=options.webp_quality,
        lossless=options.webp_lossless,
        **whole_frames,
        **comment,
    )
