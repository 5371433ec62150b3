"""Requests that have to be refused, as an API client would send them: used by the unit tests and over HTTP."""

import base64
import itertools
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class MalformedRequest:
    """One refused request: `args` is what stands under alwayson_scripts.AnimateDiff.args, `field` what the error names.

    json_safe: whether JSON can carry the request (it has no NaN).
    """

    name: str
    field: str
    args: list
    json_safe: bool = True


_TEXT_INSTEAD = ["", "abc", "1,5", "0x10", "--1", "٣x"]
_NOT_NUMBERS = [*_TEXT_INSTEAD, [], [1], {}, {"value": 1}, True, False]
_NOT_FINITE = ["nan", "inf", "-Infinity", "1e400"]
_NAN = [float("nan"), float("inf"), float("-inf")]

_OUTSIDE = {
    "video_length": [-1, "-1", 10_001, 10**30, -(10**30), 1e300],
    "fps": [0, -8, "0", 241, 10**9],
    "loop_number": [-1, 65_536, "70000"],
    "batch_size": [0, -16, 1025, "0"],
    "stride": [0, -1, 1025],
    "overlap": [-2, -100, 1024],
    "interp_x": [0, -1, 101],
    "freeinit_iters": [0, -1, 21],
    "freeinit_ds": [-0.01, 1.01, "2", -1],
    "freeinit_dt": [-0.01, 1.01, "2", -1],
    "latent_power": [-0.1, 10.5, -1],
    "latent_scale": [0, 0.5, -32, 10_001],
    "latent_power_last": [-0.1, 10.5, -1],
    "latent_scale_last": [0, 0.5, -32, 10_001],
}
_WHOLE = ("video_length", "fps", "loop_number", "batch_size", "stride", "overlap", "interp_x", "freeinit_iters")
_BOOLS = ("enable", "freeinit_enable", "use_main_seed", "is_i2i_batch", "video_default")
_UNKNOWN = [
    "fsp",
    "Fps",
    "enabled",
    "video_lenght",
    "frames",
    "motion_module",
    "",
    "closed-loop",
    "model ",
    "формат",
    "a" * 500,
]
_FORMATS = [
    "",
    [],
    "MOV",
    ["MOV"],
    ["GIF", "MOV"],
    "GIF;MP4",
    ["TXT"],
    ["Frame"],
    "Frame, TXT",
    5,
    True,
    {"GIF": True},
    [["GIF"]],
    [None],
    [1],
]
_MODELS = [
    "",
    "   ",
    "../mm.ckpt",
    "a/../../mm.ckpt",
    "..\\mm.ckpt",
    "..",
    "/etc/passwd",
    "\\\\host\\mm.ckpt",
    "C:\\mm.ckpt",
    "mm\x00.ckpt",
    "mm\n.ckpt",
    "m" * 1001,
    5,
    1.5,
    True,
    ["mm.ckpt"],
    {"name": "mm.ckpt"},
]
_NAMES = [
    "a/b",
    "..\\b",
    "a:b",
    "a*",
    "what?",
    '"a"',
    "<a>",
    "a|b",
    "a\nb",
    "a\x00b",
    "n" * 129,
    ["a"],
    {"a": 1},
    True,
    1.5,
]
_IMAGES = [
    "/tmp/last.png",
    "http://127.0.0.1/a.png",
    "data:image/png;base64,",
    "data:text/plain;base64,aGVsbG8=",
    "not base64!",
    base64.b64encode(b"hello, this is text").decode(),
    "====",
    5,
    True,
    ["aGVsbG8="],
    {"image": "aGVsbG8="},
]
_CHOICES = {
    "closed_loop": ["", "R", "RP", "loop", "R-P,A", 0, 1, True, False, ["N"], {}],
    "interp": ["FLM", "RIFE", "Film!", 5, 1.5, ["FILM"], {"a": 1}],
    "freeinit_filter": ["", "butter", "Gauss", 0, True, ["box"], {}],
}
_VIDEO_INPUT = {"video_source": "clip.mp4", "video_path": "/frames", "mask_path": "masks"}
_NOT_TEXT = [5, True, ["a"], {"a": "b"}]
_TOGETHER: list[tuple[str, dict]] = [
    ("overlap", {"overlap": 16}),
    ("overlap", {"overlap": 1, "batch_size": 1}),
    ("overlap", {"overlap": "8", "batch_size": "8"}),
    ("overlap", {"overlap": 1023, "batch_size": 1023}),
    ("interp_x", {"interp": "FILM", "interp_x": 100, "video_length": 10_000}),
    ("interp_x", {"interp": "flow", "interp_x": 11, "video_length": 9_999}),
    ("overlap", {"overlap": 16, "closed_loop": "N", "video_length": 32}),
]
# A whole list, for clients that send the values in the order of the panel.
_LISTS: list[tuple[str, list]] = [
    ("enable", ["maybe"]),
    ("enable", ["enable"]),
    ("enable", [2]),
    ("enable", [-1]),
    ("enable", [[]]),
    ("enable", [[True]]),
    ("model", [True, 0, 24, 6, "mm_sd_v15.ckpt"]),
    ("model", [True, "../mm.ckpt"]),
    ("model", [True, ""]),
    ("video_length", [True, "mm.ckpt", -1]),
    ("fps", [True, "mm.ckpt", 16, 0]),
    ("fps", [True, "mm.ckpt", 16, "fast"]),
    ("loop_number", [True, "mm.ckpt", 16, 8, -1]),
    ("closed_loop", [True, "mm.ckpt", 16, 8, 0, "X"]),
    ("batch_size", [True, "mm.ckpt", 16, 8, 0, "N", 0]),
    ("stride", [True, "mm.ckpt", 16, 8, 0, "N", 16, 0]),
    ("overlap", [True, "mm.ckpt", 16, 8, 0, "N", 16, 1, 16]),
    ("format", [True, "mm.ckpt", 16, 8, 0, "N", 16, 1, 4, "AVI"]),
    ("fps", [{"enable": True}, {"fps": 0}]),
    ("fsp", [{"enable": True}, {"fsp": 8}]),
]


def _single() -> Iterator[tuple[str, object]]:
    """Fields with a value that is bad by itself."""
    for name, values in _OUTSIDE.items():
        yield from ((name, value) for value in [*values, *_NOT_NUMBERS, *_NOT_FINITE, *_NAN])
    yield from itertools.product(_WHOLE, [1.5, "1.5", "2.000001"])
    yield from itertools.product(_BOOLS, ["maybe", "2", 2, -1, 0.5, [], [True], {}])
    yield from (("format", value) for value in _FORMATS)
    yield from (("model", value) for value in _MODELS)
    yield from (("request_id", value) for value in _NAMES)
    yield from (("last_frame", value) for value in _IMAGES)
    for name, values in _CHOICES.items():
        yield from ((name, value) for value in values)
    for name, value in _VIDEO_INPUT.items():
        yield from ((name, item) for item in [value, *_NOT_TEXT, "a\x00b"])


def malformed_requests() -> list[MalformedRequest]:
    """Requests that are to be refused with an error that names the field; each has one fault."""
    made = []
    for field, value in _single():
        request = {"enable": True, field: value}
        made.append((field, f"{field}={value!r}", [request], not any(value is bad for bad in _NAN)))
    for key in _UNKNOWN:
        made.append((key if len(key) <= 80 else key[:20], f"unknown {key!r}", [{"enable": True, key: 1}], True))
    for field, values in _TOGETHER:
        made.append((field, f"together {values!r}", [{"enable": True, **values}], True))
    for field, args in _LISTS:
        made.append((field, f"list {args!r}", args, True))
    return [
        MalformedRequest(f"{i:03} {name[:60]}", field, args, safe) for i, (field, name, args, safe) in enumerate(made)
    ]
