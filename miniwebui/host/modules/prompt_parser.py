"""What a prompt's text asks for (schedules ``[a:b:0.5]``, ``AND``, ``(emphasis:1.2)``) and the conds made from it."""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Sequence

import torch

from modules import prompt_schedule

ScheduledPromptConditioning = namedtuple("ScheduledPromptConditioning", "end_at_step cond")


class SdConditioning(list):
    """Prompts, with the size of the picture and whether they are negative."""

    def __init__(self, prompts, is_negative_prompt=False, width=None, height=None, copy_from=None):
        super().__init__(prompts)
        source = prompts if copy_from is None else copy_from
        self.is_negative_prompt = is_negative_prompt or getattr(source, "is_negative_prompt", False)
        self.width = width or getattr(source, "width", None)
        self.height = height or getattr(source, "height", None)


class ComposableScheduledPromptConditioning:
    """One part of an AND prompt: its schedule of conds and its weight."""

    def __init__(self, schedules: list[ScheduledPromptConditioning], weight: float = 1.0):
        self.schedules = schedules
        self.weight = weight


class MulticondLearnedConditioning:
    """A batch of AND prompts: ``batch[image][part]``."""

    def __init__(self, shape: tuple, batch: list[list[ComposableScheduledPromptConditioning]]):
        self.shape = shape
        self.batch = batch


def get_learned_conditioning_prompt_schedules(
    prompts: Sequence[str], base_steps: int, hires_steps: int | None = None, use_old_scheduling: bool = False
) -> list[list[list]]:
    """For each prompt ``[[last step, text], ...]`` in order of steps."""
    return [prompt_schedule.schedule(text, base_steps, hires_steps, use_old_scheduling) for text in prompts]


def get_learned_conditioning(model, prompts, steps, hires_steps=None, use_old_scheduling=False):
    """For each prompt the list of `ScheduledPromptConditioning` that its schedule asks for; equal prompts share one."""
    schedules = get_learned_conditioning_prompt_schedules(prompts, steps, hires_steps, use_old_scheduling)
    made: dict[str, list[ScheduledPromptConditioning]] = {}
    for prompt, schedule in zip(prompts, schedules, strict=True):
        if prompt not in made:
            conds = model.get_learned_conditioning(SdConditioning([t for _, t in schedule], copy_from=prompts))
            made[prompt] = [ScheduledPromptConditioning(end, conds[i]) for i, (end, _) in enumerate(schedule)]
    return [made[prompt] for prompt in prompts]


_AND = re.compile(r"\bAND\b")
_TRAILING_WEIGHT = re.compile(r"\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*$")


def _part(text: str) -> tuple[str, float]:
    """One part of an AND prompt as (text, weight)."""
    weight = _TRAILING_WEIGHT.search(text)
    return (text[: weight.start()], float(weight[1])) if weight else (text.rstrip(), 1.0)


def get_multicond_prompt_list(prompts):
    """(per prompt [(index, weight), ...], all distinct parts, part -> index)."""
    parts = SdConditioning(prompts)
    parts.clear()
    index_of: dict[str, int] = {}
    per_prompt = []
    for prompt in prompts:
        found = []
        for text, weight in map(_part, _AND.split(prompt)):
            if text not in index_of:
                index_of[text] = len(parts)
                parts.append(text)
            found.append((index_of[text], weight))
        per_prompt.append(found)
    return per_prompt, parts, index_of


def get_multicond_learned_conditioning(model, prompts, steps, hires_steps=None, use_old_scheduling=False):
    """Conds of prompts that AND may split into weighted parts (Liu et al. 2022, composable diffusion)."""
    per_prompt, parts, _ = get_multicond_prompt_list(prompts)
    conds = get_learned_conditioning(model, parts, steps, hires_steps, use_old_scheduling)
    batch = [[ComposableScheduledPromptConditioning(conds[i], weight) for i, weight in one] for one in per_prompt]
    return MulticondLearnedConditioning(shape=(len(prompts),), batch=batch)


def _at_step(schedules: Sequence[ScheduledPromptConditioning], step: int):
    """The cond of a schedule at one step; past its end, the first (as A1111 has it)."""
    return next((entry.cond for entry in schedules if step <= entry.end_at_step), schedules[0].cond)


def reconstruct_cond_batch(c: Sequence[Sequence[ScheduledPromptConditioning]], current_step: int) -> torch.Tensor:
    """(images, tokens, width) for one step; all prompts must have the same number of tokens."""
    return torch.stack([_at_step(schedules, current_step) for schedules in c])


def stack_conds(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack (tokens, width) tensors; shorter ones are filled up with their last row."""
    longest = max(t.shape[0] for t in tensors)
    return torch.stack([torch.cat([t, t[-1:].expand(longest - t.shape[0], -1)]) for t in tensors])


def reconstruct_multicond_batch(c: MulticondLearnedConditioning, current_step: int):
    """(per image [(row, weight), ...], rows): the rows are the parts of image 0, then of image 1, ..."""
    rows, per_image = [], []
    for parts in c.batch:
        first = len(rows)
        rows += [_at_step(part.schedules, current_step) for part in parts]
        per_image.append([(first + i, part.weight) for i, part in enumerate(parts)])
    return per_image, stack_conds(rows)


_TOKEN = re.compile(r"\\(?P<escaped>[()\[\]\\])|:\s*(?P<weight>[+-]?[.\d]+)\s*\)|(?P<mark>[\\()\[\]])|[^\\()\[\]:]+|:")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_BRACKETS = {"(": (")", 1.1), "[": ("]", 1 / 1.1)}


def parse_prompt_attention(text: str) -> list[list]:
    """Split a prompt into ``[[text, weight], ...]``.

    ``(a)`` weighs 1.1, ``[a]`` 1/1.1, ``(a:1.3)`` 1.3; a backslash takes a bracket literally; the word BREAK becomes
    ``["BREAK", -1]``. A bracket that is never closed counts to the end of the text.
    """
    pieces: list[list] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def weigh(start: int, factor: float) -> None:
        for piece in pieces[start:]:
            piece[1] *= factor

    for token in _TOKEN.finditer(text):
        word, mark = token[0], token["mark"]
        if token["escaped"]:
            pieces.append([token["escaped"], 1.0])
        elif mark in _BRACKETS:
            opened[mark].append(len(pieces))
        elif token["weight"] and opened["("]:
            weigh(opened["("].pop(), float(token["weight"]))
        elif mark == ")" and opened["("]:
            weigh(opened["("].pop(), 1.1)
        elif mark == "]" and opened["["]:
            weigh(opened["["].pop(), 1 / 1.1)
        elif mark == "\\":
            pieces.append(["", 1.0])
        else:
            for i, part in enumerate(_BREAK.split(word)):
                pieces += [["BREAK", -1], [part, 1.0]] if i else [[part, 1.0]]

    for bracket, (_, factor) in _BRACKETS.items():
        for start in opened[bracket]:
            weigh(start, factor)

    merged: list[list] = []
    for piece, weight in pieces or [["", 1.0]]:
        if merged and merged[-1][1] == weight:
            merged[-1][0] += piece
        else:
            merged.append([piece, weight])
    return merged
