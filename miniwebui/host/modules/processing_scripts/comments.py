"""Takes comments (# to the end of the line) out of prompts."""

import re

from modules import script_callbacks, scripts, shared


def strip_comments(text: str) -> str:
    """The text without comments; a line that is only a comment goes with its end."""
    text = re.sub(r"(^|\n)#[^\n]*(\n|$)", "\n", text)
    return re.sub(r"#[^\n]*(\n|$)", "\n", text)


class ScriptStripComments(scripts.Script):
    """Works on the expanded prompts, before the first batch."""

    def title(self):
        return "Comments"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        if not shared.opts.enable_prompt_comments:
            return
        lists = ["all_prompts", "all_negative_prompts"]
        texts = ["main_prompt", "main_negative_prompt"]
        if getattr(p, "enable_hr", False):
            lists += ["all_hr_prompts", "all_hr_negative_prompts"]
            texts += ["hr_prompt", "hr_negative_prompt"]
        for name in lists:
            setattr(p, name, [strip_comments(x) for x in getattr(p, name)])
        for name in texts:
            setattr(p, name, strip_comments(getattr(p, name)))


def before_token_counter(params: script_callbacks.BeforeTokenCounterParams) -> None:
    if shared.opts.enable_prompt_comments:
        params.prompt = strip_comments(params.prompt)


script_callbacks.on_before_token_counter(before_token_counter)
