"""The one table of formats an animation can be saved in: names, extensions, what each needs and what it can hold."""

from __future__ import annotations

from dataclasses import dataclass

from lib_animatediff.errors import UnsupportedError


@dataclass(frozen=True)
class Format:
    """One format of the "Save format" field.

    ``shown`` says how a page can show the file: "image" in an ``<img>`` (so also in Gradio's gallery), "video" in a
    ``<video>``, None not at all. ``needs`` is the package that writes it. ``in_api`` marks whole animations, whose file
    goes into an API response.
    """

    name: str
    label: str
    extension: str
    mime: str | None
    needs: str | None
    holds_infotext: bool
    shown: str | None
    in_api: bool = False
    api_only: bool = False


FORMATS: tuple[Format, ...] = (
    Format("GIF", "GIF", ".gif", "image/gif", "Pillow", True, "image", in_api=True),
    Format("MP4", "MP4 (H.264)", ".mp4", "video/mp4", "PyAV", True, "video", in_api=True),
    Format("WEBP", "animated WEBP", ".webp", "image/webp", "Pillow", True, "image", in_api=True),
    Format("WEBM", "WEBM (VP9)", ".webm", "video/webm", "PyAV", True, "video", in_api=True),
    Format("PNG", "PNG, one file for each frame", ".png", "image/png", "Pillow", True, "image"),
    Format("TXT", "infotext as a text file", ".txt", "text/plain", None, True, None),
    Format("Frame", "frames in the API response, no file", "", None, None, False, None, api_only=True),
)
"""In the order in which an API response lists the files of one animation."""

FORMAT_NAMES: tuple[str, ...] = tuple(entry.name for entry in FORMATS)


def format_named(name: str) -> Format:
    """The entry of the table called ``name``, spelled as there. Raises UnsupportedError with the names there are."""
    for entry in FORMATS:
        if entry.name == name:
            return entry
    raise UnsupportedError(f"There is no format {name!r}. Choose from {', '.join(FORMAT_NAMES)}.")
