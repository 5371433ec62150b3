"""What a row of the table of fields can say, and how the value of a field is read."""

import base64
import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from types import MappingProxyType

from lib_animatediff.errors import RequestError
from lib_animatediff.timeline.curves import parse_curve
from lib_animatediff.timeline.schedules import parse_schedule

BOTH = ("txt2img", "img2img")
IMG2IMG = ("img2img",)
API_ONLY = ()

# Formats that hold the animation; at least one is needed. TXT adds the infotext beside them, Frame adds the frames to
# the API's answer.
VIDEO_FORMATS = ("GIF", "MP4", "WEBP", "WEBM", "PNG")
ALL_FORMATS = (*VIDEO_FORMATS, "TXT", "Frame")

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0", ""}
_DRIVE = re.compile(r"[A-Za-z]:")
_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_NOT_IN_FILE_NAMES = set('<>:"/\\|?*')


@dataclass(frozen=True)
class Field:
    """One row of the table.

    kind: what `parse` makes of a value: bool, int, float, choice, formats, model, path, name, image or ignored.
    minimum, maximum: bounds a request has to keep; `slider` holds the narrower (minimum, maximum, step) of the panel.
    aliases: further spellings of a choice, in lower case.
    elem_id: ending of the component's id, which is `{tab}-ad-{elem_id}`.
    tabs: the panels that show the field; empty for fields only programs set.
    infotext: whether the field is written to an image's infotext and pasted back. `infotext_when` names a switch
        that has to be on for it, `infotext_unless_default` leaves the default out.
    axis: label of its X/Y/Z axis without the prefix, on the tabs in `axis_tabs`.
    unavailable: why a request that uses the field is refused by this version.
    """

    name: str
    kind: str
    default: object
    label: str = ""
    help: str = ""
    elem_id: str = ""
    tabs: tuple[str, ...] = BOTH
    minimum: float | None = None
    maximum: float | None = None
    slider: tuple[float, float, float] | None = None
    choices: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    infotext: bool = False
    infotext_tabs: tuple[str, ...] = BOTH
    infotext_when: str = ""
    infotext_unless_default: bool = False
    axis: str = ""
    axis_tabs: tuple[str, ...] = BOTH
    unavailable: str = ""

    def parse(self, value: object) -> object:
        """Turns what a client sent into a value of this field's type, or raises RequestError naming the field.

        Lenient where clients are (16.0 or "16" for 16, "true" for True, any case for a choice); None is the default.
        """
        return self.default if value is None else _PARSERS[self.kind](self, value)

    def error(self, message: str) -> RequestError:
        """A RequestError about this field."""
        return RequestError(self.name, message, self.label)

    @property
    def accepts(self) -> str:
        """The accepted values in words, for errors and documentation."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind in ("int", "float"):
            number = "a whole number" if self.kind == "int" else "a number"
            return f"{number} from {self.minimum:g} to {self.maximum:g}"
        if self.kind == "curve":
            return f"a number from {self.minimum:g} to {self.maximum:g}, or keyframes such as 0:1, 16:1.3, -1:1"
        return {"bool": "true or false", "image": "an image, or its file in base64"}.get(self.kind, "text")


def shown(value: object) -> str:
    """A value as an error message shows it: quoted, and short."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print whole numbers of more than 4300 digits
        text = f"a {type(value).__name__} too long to print"
    return text if len(text) <= 80 else text[:60] + " … " + text[-12:]


def nearest(text: str, names: tuple[str, ...]) -> str:
    """' Did you mean X?' with the name closest to the text, or nothing when none is close."""
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(text.lower()[:100], list(by_lower), n=1, cutoff=0.5)
    return f" Did you mean {by_lower[found[0]]}?" if found else ""


def _parse_bool(row: Field, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, Real) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise row.error(f"{shown(value)} is neither true nor false. Send true or false.")


def _number(row: Field, value: object) -> Integral | float:
    """The value as a finite number: a whole number if it is one, else a float."""
    if isinstance(value, str):
        try:
            value = float(value) if re.search(r"[.eEnN]", value) else int(value)
        except ValueError:
            raise row.error(f"{shown(value)} is not a number. Use {row.accepts}.") from None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise row.error(f"{shown(value)} is not a number. Use {row.accepts}.")
    if not isinstance(value, Integral):
        value = float(value)
        if not math.isfinite(value):
            raise row.error(f"{shown(value)} is not a finite number. Use {row.accepts}.")
    if not row.minimum <= value <= row.maximum:
        raise row.error(
            f"{shown(value)} lies outside {row.minimum:g} to {row.maximum:g}."
            f" Use {row.accepts}, for instance {min(max(row.default, row.minimum), row.maximum):g}."
        )
    return value


def _parse_int(row: Field, value: object) -> int:
    number = _number(row, value)
    if number != int(number):
        raise row.error(f"{shown(value)} is not a whole number. Use {row.accepts}.")
    return int(number)


def _parse_float(row: Field, value: object) -> float:
    return float(_number(row, value))


def _parse_choice(row: Field, value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else value
    if isinstance(text, str):
        key = text.strip().lower()
        for choice in row.choices:
            if choice.lower() == key:
                return choice
        if key in row.aliases:
            return row.aliases[key]
    hint = nearest(text, row.choices) if isinstance(text, str) else ""
    raise row.error(f"{shown(value)} is not a choice. Use {row.accepts}.{hint}")


def _parse_schedule(row: Field, value: object) -> str:
    text = _text(row, value, 500)
    try:
        parse_schedule(text)
    except ValueError as error:
        raise row.error(str(error)) from None
    return text


def _parse_curve(row: Field, value: object) -> str:
    """The text of a curve, or of a number, all of whose values lie within the bounds."""
    if isinstance(value, Real) and not isinstance(value, bool):
        value = repr(float(value))
    text = _text(row, value, 4000)
    try:
        curve = parse_curve(text)
    except ValueError as error:
        raise row.error(str(error)) from None
    for _, number in curve.keys:
        if not row.minimum <= number <= row.maximum:
            raise row.error(f"{number:g} lies outside {row.minimum:g} to {row.maximum:g}. Use {row.accepts}.")
    return text


def _parse_formats(row: Field, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part for part in re.split(r"[,\s]+", value) if part]
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise row.error(f"{shown(value)} is not a list of formats. Use {row.accepts} in a list.")
    formats = tuple(dict.fromkeys(_parse_choice(row, item) for item in value))
    if not set(formats) & set(VIDEO_FORMATS):
        raise row.error(f"{shown(list(formats))} holds no animation. Add at least one of {', '.join(VIDEO_FORMATS)}.")
    return formats


def _text(row: Field, value: object, limit: int) -> str:
    if not isinstance(value, str):
        raise row.error(f"{shown(value)} is not text. Send {row.accepts}.")
    text = value.strip()
    if len(text) > limit:
        raise row.error(f"{shown(text)} has {len(text)} characters. Use at most {limit}.")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise row.error(f"{shown(text)} holds a control character. Remove it.")
    return text


def _parse_model(row: Field, value: object) -> str:
    text = _text(row, value, 1000)
    if text.startswith(("/", "\\")) or _DRIVE.match(text):
        raise row.error(
            f"{shown(text)} is an absolute path. Name a file inside the motion module folder, which is a setting."
        )
    if ".." in re.split(r"[/\\]", text):
        raise row.error(f"{shown(text)} leaves the motion module folder. Name a file inside it, without '..'.")
    return text


def _parse_path(row: Field, value: object) -> str:
    return _text(row, value, 4000)


def _parse_name(row: Field, value: object) -> str:
    if isinstance(value, Integral) and not isinstance(value, bool) and abs(value) < 10**18:
        value = str(value)  # clients count their requests
    text = _text(row, value, 128)
    bad = sorted(set(text) & _NOT_IN_FILE_NAMES)
    if bad:
        raise row.error(f"{shown(text)} becomes part of a file name and cannot hold {' '.join(bad)}. Leave them out.")
    return text


def _parse_image(row: Field, value: object) -> object:
    """A Pillow image as it is, base64 text as it is once its beginning has been seen to be an image's."""
    if all(hasattr(value, name) for name in ("size", "mode", "convert")):
        return value
    if not isinstance(value, str):
        raise row.error(f"{shown(value)} is not an image. Send {row.accepts}.")
    if not value.strip():
        return None
    head = _DATA_URI.match(value)
    digits = "".join((value[head.end() :] if head else value).split())
    if not _BASE64.fullmatch(digits):
        raise row.error(f"{shown(value)} is not base64. Send the image file's content, not a path or address.")
    start = digits[:64].rstrip("=")
    start = base64.b64decode(start[: len(start) // 4 * 4])
    if not start.startswith(_IMAGE_STARTS) and start[4:8] != b"ftyp":
        raise row.error(f"{shown(value)} decodes to something that is not an image. Send a PNG, JPEG or WebP file.")
    return value


def _ignored(row: Field, value: object) -> object:
    return row.default


_PARSERS: Mapping[str, Callable[[Field, object], object]] = MappingProxyType(
    {
        "bool": _parse_bool,
        "int": _parse_int,
        "float": _parse_float,
        "choice": _parse_choice,
        "schedule": _parse_schedule,
        "curve": _parse_curve,
        "formats": _parse_formats,
        "model": _parse_model,
        "path": _parse_path,
        "name": _parse_name,
        "image": _parse_image,
        "ignored": _ignored,
    }
)
