"""Prompt styles. The host keeps none, but requests and extensions may name them."""

from __future__ import annotations

from typing import NamedTuple


class PromptStyle(NamedTuple):
    name: str
    prompt: str | None
    negative_prompt: str | None
    path: str | None = None


def merge_prompts(style_prompt: str, prompt: str) -> str:
    """Put the prompt in place of {prompt}, or the style behind it."""
    if "{prompt}" in style_prompt:
        return style_prompt.replace("{prompt}", prompt)
    return ", ".join(x for x in (prompt.strip(), style_prompt.strip()) if x)


class StyleDatabase:
    """Styles by name."""

    def __init__(self) -> None:
        self.no_style = PromptStyle("None", "", "", None)
        self.styles: dict[str, PromptStyle] = {}

    def _get(self, name: str) -> PromptStyle:
        return self.styles.get(name, self.no_style)

    def get_style_prompts(self, styles: list[str]) -> list[str]:
        return [self._get(x).prompt or "" for x in styles]

    def get_negative_style_prompts(self, styles: list[str]) -> list[str]:
        return [self._get(x).negative_prompt or "" for x in styles]

    def apply_styles_to_prompt(self, prompt: str, styles: list[str]) -> str:
        for style in self.get_style_prompts(styles):
            prompt = merge_prompts(style, prompt)
        return prompt

    def apply_negative_styles_to_prompt(self, prompt: str, styles: list[str]) -> str:
        for style in self.get_negative_style_prompts(styles):
            prompt = merge_prompts(style, prompt)
        return prompt
