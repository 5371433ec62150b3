"""The list of checkpoint files: titles, hashes and the names under which each may be asked for."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

from modules import errors, paths, shared

model_path = os.path.abspath(os.path.join(paths.models_path, "Stable-diffusion"))
EXTENSIONS = (".safetensors", ".ckpt")

checkpoints_list: dict[str, CheckpointInfo] = {}
checkpoint_aliases: dict[str, CheckpointInfo] = {}


def _hashes() -> tuple[Path, dict[str, str]]:
    """The file of remembered hashes and what is in it."""
    store = Path(paths.data_path, "cache", "hashes.json")
    try:
        return store, json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return store, {}


def _hash_key(filename: str) -> str:
    stat = os.stat(filename)
    return f"{os.path.abspath(filename)}|{stat.st_size}|{stat.st_mtime_ns}"


def sha256(filename: str) -> str:
    """The file's SHA-256, remembered by path, size and date in ``<data dir>/cache/hashes.json``."""
    store, known = _hashes()
    key = _hash_key(filename)
    if key not in known:
        digest = hashlib.sha256()
        with open(filename, "rb") as checkpoint:
            while block := checkpoint.read(1 << 20):
                digest.update(block)
        known[key] = digest.hexdigest()
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return known[key]


def model_hash(filename: str) -> str:
    """A1111's old 8-digit hash, of 64 KiB at the file's first MiB."""
    try:
        checkpoint = open(filename, "rb")  # noqa: SIM115  (entered below)
    except FileNotFoundError:
        return "NOFILE"
    with checkpoint:
        checkpoint.seek(1 << 20)
        return hashlib.sha256(checkpoint.read(1 << 16)).hexdigest()[:8]


class CheckpointInfo:
    """One checkpoint file and its names."""

    def __init__(self, filename: str):
        self.filename = filename
        full = os.path.abspath(filename)
        folders = [x for x in (getattr(shared.cmd_opts, "ckpt_dir", None), model_path) if x]
        inside = next((x for x in map(os.path.abspath, folders) if full.startswith(x + os.sep)), None)
        self.name = os.path.relpath(full, inside) if inside else os.path.basename(full)
        self.name_for_extra = Path(full).stem
        self.model_name = os.path.splitext(re.sub(r"[\\/]", "_", self.name))[0]
        self.is_safetensors = Path(full).suffix.lower() == ".safetensors"
        self.metadata: dict = {}
        self.hash = model_hash(full)
        self.sha256: str | None = _hashes()[1].get(_hash_key(filename))
        self.shorthash: str | None = self.sha256 and self.sha256[:10]
        self._name_all()

    def _name_all(self) -> None:
        mark = f" [{self.shorthash}]" if self.shorthash else ""
        self.title, self.short_title = self.name + mark, self.name_for_extra + mark
        self.ids = [
            self.hash,
            self.model_name,
            self.title,
            self.name,
            self.name_for_extra,
            f"{self.name} [{self.hash}]",
        ]
        if self.shorthash:
            self.ids += [self.shorthash, self.sha256, self.short_title]

    def register(self) -> None:
        """Make the checkpoint known under all its names."""
        checkpoint_aliases.update(dict.fromkeys(self.ids, self))
        checkpoints_list.update({self.title: self})

    def calculate_shorthash(self) -> str | None:
        """The first ten digits of the SHA-256; the title carries them from now on."""
        if self.shorthash is None and not getattr(shared.cmd_opts, "no_hashing", False):
            self.sha256 = sha256(self.filename)
            self.shorthash = self.sha256[:10]
            checkpoints_list.pop(self.title, None)
            self._name_all()
            self.register()
        return self.shorthash


def list_models() -> None:
    """Look for checkpoint files again."""
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    given = getattr(shared.cmd_opts, "ckpt", None)
    if given and os.path.isfile(given):
        info = CheckpointInfo(given)
        info.register()
        shared.opts.data["sd_model_checkpoint"] = info.title
    for folder in (model_path, getattr(shared.cmd_opts, "ckpt_dir", None)):
        for found in sorted(Path(folder).rglob("*"), key=lambda x: (x.parent, x.stem.lower())) if folder else ():
            if found.suffix.lower() in EXTENSIONS and ".vae." not in found.name and str(found) != given:
                CheckpointInfo(str(found)).register()


def checkpoint_tiles(use_short: bool = False) -> list[str]:
    """Titles for a dropdown (the spelling is A1111's)."""
    field = "short_title" if use_short else "title"
    return [getattr(info, field) for info in checkpoints_list.values()]


def get_closet_checkpoint_match(search_string: str | None) -> CheckpointInfo | None:
    """The checkpoint of that name, else the one with the shortest title that holds it (the spelling is A1111's)."""
    if not search_string:
        return None
    if search_string in checkpoint_aliases:
        return checkpoint_aliases[search_string]
    for text in (search_string, re.sub(r"\s*\[[^]]+]\s*$", "", search_string)):
        found = [x for x in checkpoints_list.values() if text in x.title]
        if found:
            return min(found, key=lambda x: len(x.title))
    return None


def select_checkpoint() -> CheckpointInfo:
    """The checkpoint of the settings, the first of the list where that one is gone."""
    wanted = shared.opts.sd_model_checkpoint
    found = get_closet_checkpoint_match(wanted)
    if found is not None:
        return found
    if not checkpoints_list:
        raise FileNotFoundError(f"No checkpoint found: put a .safetensors or .ckpt file into {model_path}.")
    info = next(iter(checkpoints_list.values()))
    if wanted:
        errors.report(f"Checkpoint {wanted} not found; {info.title} is used in its place.")
    return info
