"""Lists of script files in a folder."""

from __future__ import annotations

import os
from typing import NamedTuple


class ScriptFile(NamedTuple):
    basedir: str
    filename: str
    path: str


def list_folder(basedir: str, subdir: str, extension: str) -> list[ScriptFile]:
    """Files with an extension in `basedir/subdir`, sorted by name."""
    folder = os.path.join(basedir, subdir)
    if not os.path.isdir(folder):
        return []
    files = (ScriptFile(basedir, name, os.path.join(folder, name)) for name in sorted(os.listdir(folder)))
    return [x for x in files if os.path.splitext(x.path)[1].lower() == extension and os.path.isfile(x.path)]
