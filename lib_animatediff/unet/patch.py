"""Attributes set on one object for a while: the only kind of patch this extension makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_ABSENT = object()


def set_instance_attribute(target: object, name: str, value: Any) -> None:
    """Set ``target.name`` in the instance's own ``__dict__``, past any ``__setattr__``; the class is not touched."""
    vars(target)[name] = value


def pop_instance_attribute(target: object, name: str) -> None:
    """Remove ``target.name`` from the instance's own ``__dict__``, so that the class's attribute shows again."""
    vars(target).pop(name, None)


@contextmanager
def instance_attribute(target: object, name: str, value: Any) -> Iterator[None]:
    """Set ``target.name`` in the instance's own ``__dict__`` (the class is not touched) and put back what was there."""
    before = vars(target).get(name, _ABSENT)
    vars(target)[name] = value
    try:
        yield
    finally:
        if before is _ABSENT:
            vars(target).pop(name, None)
        else:
            vars(target)[name] = before


@contextmanager
def instance_attributes() -> Iterator[Callable[[object, str, Any], None]]:
    """Several :func:`instance_attribute` at once: yields a function that sets one; all are put back on exit."""
    with ExitStack() as stack:
        yield lambda target, name, value: stack.enter_context(instance_attribute(target, name, value))
