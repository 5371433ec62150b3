"""Fills `modules.shared` once the command line is known."""

from __future__ import annotations

import os

from modules import shared


def initialize() -> None:
    """Read the settings, make the state object; device and precision are chosen by `modules.devices`."""
    from modules import devices, options, shared_options, shared_state, upscaler

    os.makedirs(shared.data_path, exist_ok=True)
    declared = shared_options.options_templates, shared_options.restricted_opts
    shared.options_templates, shared.restricted_opts = declared
    shared.opts = options.Options(*declared)
    shared.opts.load(filename=shared.config_filename)

    shared.device, shared.state = devices.device, shared_state.State()
    shared.weight_load_location = None if shared.cmd_opts.lowram else "cpu"
    shared.sd_upscalers = upscaler.builtin_upscalers()
