"""The parsed command line. Unknown flags are named and ignored."""

from __future__ import annotations

import argparse
import os
import sys

from modules import script_loading
from modules.cmd_args import parser
from modules.paths_internal import extensions_dir, repository_path


def extension_folders(given: list[str], installed: str) -> list[str]:
    """Folders of extensions: those named by --extension (the repository itself by default), then the installed."""
    folders = list(given) or [repository_path]
    if os.path.isdir(installed):
        folders += [os.path.join(installed, x) for x in sorted(os.listdir(installed))]
    return [x for x in folders if os.path.isdir(x)]


_first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
_first.add_argument("--extension", action="append", default=[])
script_loading.preload_extensions(extension_folders(_first.parse_known_args()[0].extension, extensions_dir), parser)

cmd_opts, unknown_arguments = parser.parse_known_args()

if unknown_arguments:
    print("miniwebui: these arguments mean nothing here and are ignored:", *unknown_arguments, file=sys.stderr)

_public = bool(cmd_opts.listen or cmd_opts.server_name)
cmd_opts.webui_is_non_local = _public
cmd_opts.disable_extension_access = _public and not cmd_opts.enable_insecure_extension_access
