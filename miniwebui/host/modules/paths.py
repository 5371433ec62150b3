"""The host's folders under the name extensions import them by."""

from modules.paths_internal import (  # noqa: F401
    cwd,
    data_path,
    extensions_dir,
    models_path,
    script_path,
)
