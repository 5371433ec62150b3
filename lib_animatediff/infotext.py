"""The value of the infotext's `AnimateDiff` key, `model: mm.safetensors, fps: 8, …`: written and read back."""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from lib_animatediff.errors import RequestError
from lib_animatediff.fields import FIELD, FIELDS

if TYPE_CHECKING:
    from lib_animatediff.request import AnimationRequest

INFOTEXT_KEY = "AnimateDiff"

# Pasted when found, though not written: older versions wrote `enable`.
_READ = frozenset(row.name for row in FIELDS if row.infotext) | {"enable", "format", "request_id"}

_KEY = re.compile(r"\s*(\w+):[ \t]?")
_NEXT_KEY = re.compile(r",\s*(?=\w+:(?:\s|$))")


def infotext_value(
    request: "AnimationRequest", *, extra: Mapping[str, object] = MappingProxyType({}), tab: str = "txt2img"
) -> str:
    """The text that reproduces a request, in the order older readers know, new keys behind.

    extra: values to write instead of the request's, such as the number of frames it came to; `mm_hash` and `version`,
    and further keys of letters, digits and underscores, if there are any.
    """
    extra = dict(extra)
    values: dict[str, object] = {}
    late: dict[str, object] = {}
    for row in FIELDS:
        value = extra.pop(row.name, getattr(request, row.name))
        if not row.infotext or tab not in row.infotext_tabs:
            continue
        if row.infotext_unless_default:
            if value != row.default:
                late[row.name] = value
        elif not row.infotext_when:
            values[row.name] = value
        elif getattr(request, row.infotext_when):
            late[row.name] = value
    latents = {name: values.pop(name) for name in list(values) if name.startswith("latent_")}
    version = extra.pop("version", None)
    pairs = {
        **values,
        "request_id": request.request_id or None,
        "mm_hash": extra.pop("mm_hash", None),
        **latents,
        **late,
        **extra,
        "version": version,
    }
    return ", ".join(f"{key}: {_written(value)}" for key, value in pairs.items() if value is not None)


def read_infotext_value(text: str) -> dict[str, object]:
    """The fields in a value written by `infotext_value` or by an older version, typed.

    Keys that are unknown or not to be pasted and values that cannot be used are left out. Never raises.
    """
    found: dict[str, object] = {}
    position = 0
    while match := _KEY.match(text, position):
        value, position = _value_at(text, match.end())
        name = match.group(1)
        if name in _READ:
            try:
                found[name] = FIELD[name].parse(value)
            except RequestError:
                continue
    return found


def _written(value: object) -> str:
    """A value as text; quoted as JSON where a reader would else take a part of it for the next pair."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    text = ", ".join(value) if isinstance(value, (list, tuple)) else str(value)
    plain = text and text.isprintable() and text == text.strip() and not set(text) & set(',:"')
    return text if plain else json.dumps(text)


def _value_at(text: str, start: int) -> tuple[str, int]:
    """The value that begins at an index, and the index behind its comma."""
    if text.startswith('"', start):
        try:
            value, end = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            end = len(text) + 1
        if end == len(text) or text.startswith(",", end):
            return value, end + 1
    comma = _NEXT_KEY.search(text, start)
    return (text[start : comma.start()].strip(), comma.end()) if comma else (text[start:].strip(), len(text) + 1)
