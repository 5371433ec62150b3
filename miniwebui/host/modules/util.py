"""Small helpers shared by the host's modules."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator


def natural_sort_key(text: str) -> list:
    """Key that sorts "a2" before "a10"."""
    return [int(x) if x.isdigit() else x.lower() for x in re.split("([0-9]+)", text)]


def listfiles(folder: str) -> list[str]:
    """Files of a folder in natural order, hidden ones left out."""
    names = [x for x in sorted(os.listdir(folder), key=natural_sort_key) if not x.startswith(".")]
    return [x for x in (os.path.join(folder, name) for name in names) if os.path.isfile(x)]


def walk_files(path: str, allowed_extensions: list[str] | None = None) -> Iterator[str]:
    """Files below a folder, in natural order, of the given lower-case extensions."""
    if not os.path.isdir(path):
        return
    for root, _, names in sorted(os.walk(path, followlinks=True), key=lambda x: natural_sort_key(x[0])):
        for name in sorted(names, key=natural_sort_key):
            if allowed_extensions is None or os.path.splitext(name)[1].lower() in allowed_extensions:
                yield os.path.join(root, name)


def truncate_path(target: str, base: str | None = None) -> str:
    """The path relative to `base` (the current folder) where it lies below it."""
    base = os.path.abspath(base or os.getcwd())
    target = os.path.abspath(target)
    return os.path.relpath(target, base) if target.startswith(base + os.sep) else target


def topological_sort(dependencies: dict[str, list[str]]) -> list[str]:
    """Names in an order where each comes after those it depends on; unknown names and cycles are ignored."""
    visited: set[str] = set()
    order: list[str] = []

    def visit(name: str) -> None:
        if name in visited:
            return
        visited.add(name)
        for other in dependencies.get(name, []):
            if other in dependencies:
                visit(other)
        order.append(name)

    for name in dependencies:
        visit(name)
    return order
