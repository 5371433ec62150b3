"""State shared by the whole host under A1111's names. `shared_init.initialize` fills what is None here."""

from __future__ import annotations

import sys
from types import ModuleType

from modules import options, shared_cmd_options, shared_items, util
from modules.paths_internal import data_path, extensions_dir, models_path, script_path  # noqa: F401

parser, cmd_opts = shared_cmd_options.parser, shared_cmd_options.cmd_opts
config_filename = cmd_opts.ui_settings_file
batch_cond_uncond = parallel_processing_allowed = True
xformers_available = False

# filled by shared_init
opts: options.Options = None
options_templates = restricted_opts = state = device = weight_load_location = demo = None
settings_components: dict = {}
tab_names: list[str] = []

face_restorers: list = []
hypernetworks: dict = {}
loaded_hypernetworks: list = []
sd_upscalers: list = []

latent_upscale_default_mode = _LATENT = "Latent"
latent_upscale_modes = {
    _LATENT + suffix: {"mode": mode, "antialias": "antialiased" in suffix}
    for suffix, mode in {
        "": "bilinear",
        " (antialiased)": "bilinear",
        " (bicubic)": "bicubic",
        " (bicubic antialiased)": "bicubic",
        " (nearest)": "nearest",
        " (nearest-exact)": "nearest-exact",
    }.items()
}

OptionInfo, OptionHTML, options_section = options.OptionInfo, options.OptionHTML, options.options_section
natural_sort_key, listfiles, walk_files = util.natural_sort_key, util.listfiles, util.walk_files
list_checkpoint_tiles, list_samplers = shared_items.list_checkpoint_tiles, shared_items.list_samplers
refresh_checkpoints = shared_items.refresh_checkpoints


class _Shared(ModuleType):
    """The loaded model is read from the place that loads it, as in A1111."""

    @property
    def sd_model(self):
        from modules import sd_models

        return sd_models.model_data.get_sd_model()

    @sd_model.setter
    def sd_model(self, value) -> None:
        from modules import sd_models

        sd_models.model_data.set_sd_model(value)


sys.modules[__name__].__class__ = _Shared
