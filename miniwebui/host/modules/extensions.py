"""The extensions this host loads: folders named on the command line and those in <data dir>/extensions."""

from __future__ import annotations

import configparser
import os
import subprocess
from dataclasses import dataclass
from functools import cached_property

from modules import paths_internal, scripts_files, shared
from modules.shared_cmd_options import extension_folders

# in their order, and by the real path of their folder
extensions: list = []
extension_paths: dict = {}


def _canonical(text: str) -> str:
    return text.lower().strip()


def _list(text: str) -> list[str]:
    return [_canonical(x) for x in text.replace(",", " ").split() if x.strip()]


@dataclass
class CallbackOrderInfo:
    """A wish of metadata.ini about the order of one callback."""

    name: str
    before: list[str]
    after: list[str]


class ExtensionMetadata:
    """metadata.ini of an extension; an absent file means no wishes."""

    def __init__(self, path: str, canonical_name: str) -> None:
        self.config = wishes = configparser.ConfigParser()
        wishes.read(os.path.join(path, "metadata.ini"))
        self.canonical_name = _canonical(self.config.get("Extension", "Name", fallback=canonical_name))
        self.requires = _list(self.config.get("Extension", "Requires", fallback=""))

    def get_script_requirements(self, field: str, section: str) -> list[str]:
        """Names in `field` ("Before", "After", "Requires") of a script's section and of [scripts]."""
        return [x for part in (section, "scripts") for x in _list(self.config.get(part, field, fallback=""))]

    def list_callback_order_instructions(self) -> list[CallbackOrderInfo]:
        result = []
        for section, values in self.config.items():
            kind, _, name = section.partition("/")
            if kind == "callbacks":
                get = values.get
                name = name if name.startswith(self.canonical_name) else f"{self.canonical_name}/{name}"
                result.append(CallbackOrderInfo(name, _list(get("Before", "")), _list(get("After", ""))))
        return result


class Extension:
    """One folder with scripts/, javascript/, style.css."""

    def __init__(self, path: str, *, enabled: bool = True, is_builtin: bool = False) -> None:
        self.path = path
        self.enabled = enabled
        self.is_builtin = is_builtin
        self.metadata = ExtensionMetadata(path, os.path.basename(path))
        self.name = os.path.basename(path)
        self.canonical_name = self.metadata.canonical_name

    @cached_property
    def _git(self) -> dict[str, str]:
        commands = {
            "remote": ("remote", "get-url", "origin"),
            "branch": ("rev-parse", "--abbrev-ref", "HEAD"),
            "commit_hash": ("rev-parse", "HEAD"),
            "commit_date": ("log", "-1", "--format=%ct"),
            "version": ("describe", "--tags", "--always"),
        }
        if not os.path.exists(os.path.join(self.path, ".git")):
            return dict.fromkeys(commands, "")
        return {key: self._run_git(*arguments) for key, arguments in commands.items()}

    def _run_git(self, *arguments: str) -> str:
        try:
            result = subprocess.run(
                ["git", "-C", self.path, *arguments], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return result.stdout.strip() if result.returncode == 0 else ""

    def read_info_from_repo(self) -> dict[str, str]:
        """Where the extension comes from, as git tells; empty texts without git."""
        return self._git

    def list_files(self, subdir: str, extension: str) -> list[scripts_files.ScriptFile]:
        """Files of a sub-folder with this extension, sorted by name."""
        return scripts_files.list_folder(self.path, subdir, extension)


def list_extensions() -> None:
    """Find the extensions; those switched off by the settings or the command line are listed as disabled."""
    extensions.clear()
    extension_paths.clear()
    opts = shared.cmd_opts
    off = opts.disable_all_extensions or opts.disable_extra_extensions
    off = off or shared.opts.disable_all_extensions in ("extra", "all")
    for path in extension_folders(opts.extension, paths_internal.extensions_dir):
        name = os.path.basename(path)
        extension = Extension(path, enabled=not off and name not in shared.opts.disabled_extensions)
        extensions.append(extension)
        extension_paths[os.path.realpath(path)] = extension


def active() -> list[Extension]:
    """The extensions that are switched on."""
    return [each for each in extensions if each.enabled]


def find_extension(filename: str) -> Extension | None:
    """The extension a file belongs to."""
    path = os.path.realpath(filename)
    while True:
        if path in extension_paths:
            return extension_paths[path]
        parent = os.path.dirname(path)
        if parent == path:
            return None
        path = parent
