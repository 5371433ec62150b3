"""The request: what an animation is asked to be, checked and frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

from lib_animatediff.errors import RequestError
from lib_animatediff.field_types import Field, nearest, shown
from lib_animatediff.fields import FIELD, FIELDS, panel_fields
from lib_animatediff.infotext import infotext_value, read_infotext_value

__all__ = [
    "FIELD",
    "FIELDS",
    "AnimationRequest",
    "Field",
    "infotext_value",
    "panel_fields",
    "parse_script_args",
    "read_infotext_value",
]

_NOTHING: Mapping[str, object] = MappingProxyType({})

# Frames are numbered with five digits in their file names.
_MOST_WRITTEN_FRAMES = 100_000


@dataclass(frozen=True)
class AnimationRequest:
    """One animation as it was asked for; make it with `from_mapping`, which checks it. `fields.py` explains each field.

    `video_length` 0 stands for `batch_size` frames and `overlap` -1 for a quarter of it: both are kept as asked.
    """

    model: str
    enable: bool
    video_length: int
    fps: int
    loop_number: int
    closed_loop: str
    batch_size: int
    stride: int
    overlap: int
    format: tuple[str, ...]
    interp: str
    interp_x: int
    video_source: str
    video_path: str
    mask_path: str
    freeinit_enable: bool
    freeinit_filter: str
    freeinit_ds: float
    freeinit_dt: float
    freeinit_iters: int
    latent_power: float
    latent_scale: float
    last_frame: object
    latent_power_last: float
    latent_scale_last: float
    use_main_seed: bool
    prompt_interpolation: str
    prompt_easing: str
    context_schedule: str
    context_fuse: str
    initial_noise: str
    motion_scale: str
    motion_effect: str
    positions: str
    freeinit_fast: bool
    full_context: bool
    request_id: str
    is_i2i_batch: bool
    video_default: bool
    prompt_scheduler: None

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, object], defaults: Mapping[str, object] = _NOTHING
    ) -> "AnimationRequest":
        """The request a dict of fields asks for; what it leaves out or has as None comes from `defaults` or the table.

        Raises RequestError, naming the field, for an unknown key, a value of the wrong type or outside its bounds, and,
        if the request is enabled, for values that do not go together.
        """
        if not isinstance(mapping, Mapping):
            raise RequestError("args", f"{shown(mapping)} is not a set of named fields. Send {{'enable': true, …}}.")
        for key in mapping:
            _require_known(key)
        values = {}
        for row in FIELDS:
            value = mapping.get(row.name)
            values[row.name] = row.parse(defaults.get(row.name) if value is None else value)
        request = cls(**values)
        if request.enable:
            request._check()
        return request

    def to_dict(self) -> dict[str, object]:
        """The fields as a client sends them; `from_mapping` makes the same request of it."""
        values = {row.name: getattr(self, row.name) for row in fields(self)}
        return {**values, "format": list(self.format)}

    def replace(self, **changes: object) -> "AnimationRequest":
        """A copy with some fields changed, checked like a new request."""
        return type(self).from_mapping({**self.to_dict(), **changes})

    def _check(self) -> None:
        """Refuses values that are good one by one but not together, or that this version cannot serve."""
        for row in FIELDS:
            if row.unavailable and getattr(self, row.name) != row.default:
                raise row.error(f"{shown(getattr(self, row.name))}: {row.unavailable}")
        if not self.model:
            raise FIELD["model"].error("no motion module is chosen. Name a file of the motion module folder.")
        if self.overlap >= self.batch_size:
            raise FIELD["overlap"].error(
                f"{self.overlap} does not fit into a context of {self.batch_size} frames (batch_size). Use -1 for a"
                f" quarter of the context, or 0 to {self.batch_size - 1}.",
            )
        frames = self.video_length or self.batch_size
        written = (frames - 1) * self.interp_x + 1 if self.interp != "Off" else frames
        if written > _MOST_WRITTEN_FRAMES:
            raise FIELD["interp_x"].error(
                f"{self.interp_x} makes {written} frames of {frames}, more than the {_MOST_WRITTEN_FRAMES} a video may"
                " have. Lower interp_x or video_length.",
            )


def _require_known(key: object) -> None:
    if isinstance(key, str) and key in FIELD:
        return
    name = key if isinstance(key, str) and len(key) <= 80 else shown(key)
    known = tuple(FIELD)
    hint = nearest(key, known) if isinstance(key, str) else ""
    raise RequestError(name, f"there is no such field.{hint} The fields are: {', '.join(known)}.")


def parse_script_args(
    args: Sequence[object],
    *,
    tab: str,
    defaults: Mapping[str, object] = _NOTHING,
    host_defaults: Sequence[object] | None = None,
    overrides: Mapping[str, object] = _NOTHING,
) -> AnimationRequest:
    """The request in the arguments the host hands to the script.

    args: either the values of the panel's components in their order (`panel_fields`), or, from a program, a dict of
        fields in place of the first; more dicts after it are added to it. False or None alone is a request that is not
        enabled. An object with the fields as attributes serves as a dict does.
    tab: "txt2img" or "img2img".
    defaults: values for what a dict leaves out, over those of the table.
    host_defaults: the components' values when the panel was made. After a dict the host fills up the arguments with
        these, or with what it read in the API's `infotext` field: those that differ are taken where the dict is silent.
        Without host_defaults all arguments after the dicts are ignored.
    overrides: fields that replace the others in the end, as the X/Y/Z axes do.

    Raises RequestError. A panel that is not enabled raises nothing, whatever is typed in it: it must not stand in the
    way of plain images.
    """
    first = args[0] if args else None
    if isinstance(first, AnimationRequest):
        values = first.to_dict()
    elif isinstance(first, Mapping):
        values = _after_dict(args, tab, host_defaults)
        for item in args:
            if isinstance(item, Mapping):
                values |= item
    elif hasattr(first, "enable"):
        values = {row.name: getattr(first, row.name) for row in FIELDS if hasattr(first, row.name)}
    else:
        values = _from_positions(args, tab, enabled=overrides.get("enable"))
    request = AnimationRequest.from_mapping({**values, **overrides}, defaults)
    if request.enable and tab not in FIELD["last_frame"].tabs and request.last_frame is not None:
        raise RequestError("last_frame", f"{tab} has no first image to lead from. Send the request to img2img.")
    return request


def _from_positions(args: Sequence[object], tab: str, enabled: object) -> dict[str, object]:
    """Field names to the values at their places; those that cannot be read are left out if nothing is enabled."""
    values = {row.name: value for row, value in zip(panel_fields(tab), args, strict=False)}
    if FIELD["enable"].parse(values.get("enable") if enabled is None else enabled):
        return values
    return {
        "enable": False,
        **{name: value for name, value in values.items() if name != "enable" and _reads(name, value)},
    }


def _reads(name: str, value: object) -> bool:
    try:
        FIELD[name].parse(value)
    except RequestError:
        return False
    return True


def _after_dict(args: Sequence[object], tab: str, host_defaults: Sequence[object] | None) -> dict[str, object]:
    """What the host read in an infotext and put after the dict: readable values other than the panel's own."""
    values = {}
    for row, value, at_start in zip(panel_fields(tab)[1:], args[1:], (host_defaults or ())[1:], strict=False):
        if value != at_start and not isinstance(value, Mapping) and _reads(row.name, value):
            values[row.name] = value
    return values
