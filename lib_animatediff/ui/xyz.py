"""The X/Y/Z plot's axes: each puts a value over one field of the cell's request."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from lib_animatediff.field_types import Field
from lib_animatediff.fields import FIELDS
from lib_animatediff.ui.host import host_module

logger = logging.getLogger(__name__)

LABEL_PREFIX = "[AnimateDiff] "

_ATTRIBUTE = "animatediff_overrides"
_TYPES = {"int": int, "float": float}


def register_axes(models: Callable[[], Sequence[str]]) -> int:
    """Adds the axes to the host's X/Y/Z plot script if it is loaded; for `script_callbacks.on_before_ui`.

    models: lists the names of the motion modules there are now. Returns how many axes were added: none when they are
    there already.
    """
    found = [data.module for data in host_module("scripts").scripts_data if PurePath(data.path).name == "xyz_grid.py"]
    return sum(_register(module, models) for module in found)


def overrides(p: Any) -> Mapping[str, object]:
    """The fields the axes put over the request of this processing object."""
    return getattr(p, _ATTRIBUTE, None) or MappingProxyType({})


def _register(module: Any, models: Callable[[], Sequence[str]]) -> int:
    options = getattr(module, "axis_options", None)
    if options is None or not hasattr(module, "AxisOption"):
        logger.warning("The X/Y/Z plot script of this WebUI has no axes to add to; AnimateDiff's are left out.")
        return 0
    if any(hasattr(option.apply, "animatediff_field") for option in options):
        return 0
    made = [_axis(module, row, models) for row in FIELDS if row.axis]
    options.extend(made)
    return len(made)


def _axis(module: Any, row: Field, models: Callable[[], Sequence[str]]) -> Any:
    on_both = len(row.axis_tabs) > 1
    # Forge Classic keeps the classes in a module of their own and imports only one of them where its axes are
    home = sys.modules.get(module.AxisOption.__module__, module)
    option = module.AxisOption if on_both else getattr(home, "AxisOptionImg2Img", module.AxisOption)
    choices: Callable[[], list[str]] | None = None
    if row.kind == "model":
        choices = lambda: list(models())  # noqa: E731
    elif row.kind == "bool":
        choices = lambda: ["False", "True"]  # noqa: E731
    elif row.choices:
        choices = lambda: list(row.choices)  # noqa: E731
    return option(
        LABEL_PREFIX + row.axis,
        _TYPES.get(row.kind, str),
        _apply(row.name),
        confirm=_confirm(row),
        cost=0.5 if row.kind == "model" else 0.0,
        choices=choices,
    )


def _apply(name: str) -> Callable[[Any, object, Sequence[object]], None]:
    def apply(p: Any, x: object, xs: Sequence[object]) -> None:
        # The cells are shallow copies of one object: a new dict for each keeps a value from reaching the next cell.
        setattr(p, _ATTRIBUTE, {**overrides(p), name: x})

    apply.animatediff_field = name
    return apply


def _confirm(row: Field) -> Callable[[Any, Sequence[object]], None]:
    def confirm(p: Any, xs: Sequence[object]) -> None:
        """Refuses bad values before the first cell is made."""
        for x in xs:
            if row.parse(x) != row.default and row.unavailable:
                raise row.error(f"{x!r}: {row.unavailable}")

    return confirm
