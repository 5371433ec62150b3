"""A single image handed over by a page or a program."""

from __future__ import annotations

import base64
import binascii
import io

from PIL import Image

from lib_animatediff.errors import RequestError


def open_still(value: Image.Image | str | None, field: str) -> Image.Image | None:
    """A Pillow image, or the base64 text of an image file with or without its data-URI head, as an RGB image.

    Raises RequestError naming ``field`` when the text does not decode to a whole image.
    """
    if value is None:
        return None
    if not isinstance(value, Image.Image):
        try:
            text = value.partition(",")[2] if value.startswith("data:") else value
            value = Image.open(io.BytesIO(base64.b64decode(text, validate=False)))
            value.load()
        except (OSError, SyntaxError, ValueError, binascii.Error, Image.DecompressionBombError) as error:
            raise RequestError(field, f"the image cannot be read ({error}). Send the whole file in base64.") from error
    return value.convert("RGB")
