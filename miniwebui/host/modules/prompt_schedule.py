"""Prompt editing: ``[before:after:when]``, ``[added:when]``, ``[removed::when]`` and ``[a|b]`` as texts per step.

``when`` is a step, or a share of the steps if it has a dot. What does not parse stays literal text; a stray ``|``
leaves the whole prompt as it is (A1111's grammar knows no such character outside ``[a|b]``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)\s*\]")
_PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+", re.S)


@dataclass(frozen=True)
class _Edit:
    before: list
    after: list
    when: str


@dataclass(frozen=True)
class _Alternate:
    choices: list


class _NotAPrompt(Exception):  # noqa: N818
    """The text is outside the grammar."""


class _Parser:
    """A packrat parser: ``sequence(i)`` and ``element(i)`` answer (node, end) or None, each place at most once."""

    def __init__(self, text: str):
        self.text = text
        self.sequences: dict[int, tuple[list, int]] = {}
        self.elements: dict[int, tuple[list, int] | None] = {}

    def at(self, i: int) -> str:
        return self.text[i : i + 1]

    def whole(self) -> list:
        nodes, i = [], 0
        while i < len(self.text):
            more, i = self.sequence(i)
            nodes += more
            if i < len(self.text):
                if self.at(i) not in "[]():":
                    raise _NotAPrompt
                nodes.append(self.at(i))
                i += 1
        return nodes

    def sequence(self, i: int) -> tuple[list, int]:
        if i not in self.sequences:
            nodes, end = [], i
            while found := self.element(end):
                nodes += found[0]
                end = found[1]
            self.sequences[i] = (nodes, end)
        return self.sequences[i]

    def element(self, i: int) -> tuple[list, int] | None:
        if i not in self.elements:
            plain = _PLAIN.match(self.text, i)
            if plain:
                self.elements[i] = ([plain[0]], plain.end())
            elif self.at(i) == "[":
                self.elements[i] = self.square(i)
            elif self.at(i) == "(":
                self.elements[i] = self.round(i)
            else:
                self.elements[i] = None
        return self.elements[i]

    def round(self, i: int) -> tuple[list, int] | None:
        inside, end = self.sequence(i + 1)
        if self.at(end) == ":":
            weight, end = self.sequence(end + 1)
            inside = [*inside, ":", *weight]
        return (["(", *inside, ")"], end + 1) if self.at(end) == ")" else None

    def square(self, i: int) -> tuple[list, int] | None:
        first, end = self.sequence(i + 1)
        if self.at(end) == "]":
            return ["[", *first, "]"], end + 1
        if self.at(end) == ":":
            number = _NUMBER.match(self.text, end + 1)
            if number:
                return [_Edit([], first, number[1])], number.end()
            second, end = self.sequence(end + 1)
            number = _NUMBER.match(self.text, end + 1) if self.at(end) == ":" else None
            return ([_Edit(first, second, number[1])], number.end()) if number else None
        choices = [first]
        while self.at(end) == "|":
            choice, end = self.sequence(end + 1)
            choices.append(choice)
        return ([_Alternate(choices)], end + 1) if len(choices) > 1 and self.at(end) == "]" else None


def _inner(nodes: list) -> Iterator[_Edit | _Alternate]:
    for node in nodes:
        if isinstance(node, _Edit):
            yield node
            yield from _inner(node.before + node.after)
        elif isinstance(node, _Alternate):
            yield node
            for choice in node.choices:
                yield from _inner(choice)


def _text(nodes: list, step: int, when) -> str:
    out = []
    for node in nodes:
        if isinstance(node, _Edit):
            out.append(_text(node.before if step <= when(node) else node.after, step, when))
        elif isinstance(node, _Alternate):
            out.append(_text(node.choices[(step - 1) % len(node.choices)], step, when))
        else:
            out.append(node)
    return "".join(out)


def schedule(text: str, base_steps: int, hires_steps: int | None = None, old: bool = False) -> list[list]:
    """``[[last step, text], ...]``; in the hires pass steps and shares count on from the first pass.

    ``old`` is A1111's option "use old prompt editing timelines": both passes count from 0, a number below 1 is a share.
    """
    second_pass = hires_steps is not None and not old
    steps = base_steps if hires_steps is None or old else hires_steps

    def when(edit: _Edit) -> int:
        value = float(edit.when)
        if old:
            value = value * steps if value < 1 else value
        elif "." in edit.when:
            value = (value - second_pass) * steps
        else:
            value -= base_steps if second_pass else 0
        return min(steps, int(value))

    try:
        nodes = _Parser(text).whole()
    except (_NotAPrompt, RecursionError):
        return [[steps, text]]
    ends = {steps}
    for node in _inner(nodes):
        ends.update(range(1, steps + 1) if isinstance(node, _Alternate) else [when(node)])
    return [[end, _text(nodes, end, when)] for end in sorted(ends) if end >= 1 or end == steps]
