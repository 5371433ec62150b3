"""Fills `modules.shared` once the command line is known."""

from __future__ import annotations

import os

from modules import shared
from modules.shared import cmd_opts


class TotalProgress:
    """The total progress bar A1111 shows in the console; here it only counts."""

    def __init__(self) -> None:
        self.done = 0
        self.total = 0

    def reset(self) -> None:
        self.done = 0

    def update(self) -> None:
        self.done += 1

    def updateTotal(self, new_total: int) -> None:  # noqa: N802 - A1111's name
        self.total = new_total

    def clear(self) -> None:
        self.done = self.total = 0


def initialize() -> None:
    """Read the settings, make the state object; device and precision are chosen by `modules.devices`."""
    from modules import devices, options, shared_options, shared_state, styles, upscaler

    os.makedirs(shared.data_path, exist_ok=True)
    shared.options_templates = shared_options.options_templates
    shared.restricted_opts = shared_options.restricted_opts
    shared.opts = options.Options(shared_options.options_templates, shared_options.restricted_opts)
    shared.opts.load(shared.config_filename)

    shared.device = devices.device
    shared.weight_load_location = None if cmd_opts.lowram else "cpu"
    shared.state = shared_state.State()
    shared.prompt_styles = styles.StyleDatabase()
    shared.total_tqdm = TotalProgress()
    shared.sd_upscalers = upscaler.builtin_upscalers()
