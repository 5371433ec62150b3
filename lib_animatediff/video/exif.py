"""EXIF UserComment, where the WebUI keeps the infotext of files that have no text chunks."""

from __future__ import annotations

import struct

from PIL import Image

EXIF_IFD = 0x8769
USER_COMMENT = 0x9286
_LONG, _UNDEFINED = 4, 7


def dump_user_comment(text: str) -> bytes:
    """An EXIF block (with its "Exif" header) that holds ``text`` as UserComment and nothing else.

    Big-endian TIFF, character code "UNICODE" and UTF-16BE: the form the WebUI itself writes and reads.
    """
    comment = b"UNICODE\0" + text.encode("utf-16-be", "replace")
    # An IFD: number of entries, 12 bytes for each (tag, type, count, value or offset), offset of the next IFD.
    first = struct.pack(">HHHIII", 1, EXIF_IFD, _LONG, 1, 26, 0)
    second = struct.pack(">HHHIII", 1, USER_COMMENT, _UNDEFINED, len(comment), 44, 0)
    return b"Exif\0\0" + b"MM\0*" + struct.pack(">I", 8) + first + second + comment


def load_user_comment(exif: bytes) -> str | None:
    """The UserComment of an EXIF block, None when it has none. Raises ValueError or OSError for a damaged block."""
    block = Image.Exif()
    try:
        block.load(exif)
        comment = block.get_ifd(EXIF_IFD).get(USER_COMMENT)
    except (SyntaxError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"The EXIF block is damaged: {error}") from error
    if isinstance(comment, str):
        comment = comment.encode("latin-1", "replace")
    if not comment:
        return None
    code, body = bytes(comment[:8]), bytes(comment[8:])
    if code == b"UNICODE\0":
        # Other programs write UTF-16 in the byte order of the file, or with a mark.
        if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
            text = body.decode("utf-16", "replace")
        else:
            text = body.decode("utf-16-le" if _looks_little_endian(body) else "utf-16-be", "replace")
    elif code in (b"ASCII\0\0\0", bytes(8)):
        text = body.decode("utf-8", "replace")
    else:
        text = bytes(comment).decode("utf-8", "replace")
    return text.rstrip("\0") or None


def _looks_little_endian(body: bytes) -> bool:
    """Infotext has "Steps: " and the like, so in UTF-16 the zero bytes are mostly in the high half of each pair."""
    return body[1::2].count(0) > body[0::2].count(0)
