"""State shared by the whole host under A1111's names. `shared_init.initialize` fills what is None here."""

from __future__ import annotations

import sys
from types import ModuleType

from modules import options, shared_cmd_options, shared_items, util
from modules.paths_internal import (  # noqa: F401
    data_path,
    default_sd_model_file,
    extensions_builtin_dir,
    extensions_dir,
    models_path,
    script_path,
    sd_configs_path,
    sd_default_config,
    sd_model_file,
)

cmd_opts = shared_cmd_options.cmd_opts
parser = shared_cmd_options.parser
config_filename = cmd_opts.ui_settings_file
hide_dirs = {"visible": not cmd_opts.hide_ui_dir_config}
batch_cond_uncond = True
parallel_processing_allowed = True
xformers_available = False
progress_print_out = sys.stdout

opts: options.Options = None
options_templates: dict = None
restricted_opts: set = None
state = None
total_tqdm = None
prompt_styles = None
device = None
weight_load_location = None
demo = None
settings_components: dict = {}
tab_names: list[str] = []

face_restorers: list = []
hypernetworks: dict = {}
loaded_hypernetworks: list = []
sd_upscalers: list = []

latent_upscale_default_mode = "Latent"
latent_upscale_modes = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (bicubic antialiased)": {"mode": "bicubic", "antialias": True},
    "Latent (nearest)": {"mode": "nearest", "antialias": False},
    "Latent (nearest-exact)": {"mode": "nearest-exact", "antialias": False},
}

OptionInfo = options.OptionInfo
OptionHTML = options.OptionHTML
options_section = options.options_section
natural_sort_key = util.natural_sort_key
listfiles = util.listfiles
walk_files = util.walk_files
list_checkpoint_tiles = shared_items.list_checkpoint_tiles
refresh_checkpoints = shared_items.refresh_checkpoints
list_samplers = shared_items.list_samplers


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
