"""Where an animation is saved: ``{outpath_samples}/AnimateDiff/{date}/{sequence}-{seed}{-request_id}``."""

from __future__ import annotations

import datetime
import os
import re
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

_RESERVATION = re.compile(r"\.(\d+)\.reserved")
_NUMBERED = re.compile(r"(\d+)(?=[-.]|$)")
_STALE_SECONDS = 24 * 3600
_MAX_REQUEST_ID_BYTES = 100
_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³")}
)


@dataclass(frozen=True)
class Reservation:
    """A stem that no other run gets until it is released; use it as a context manager around the writing.

    Afterwards the files themselves keep the number; where none was written the number is free again.
    """

    stem: Path
    marker: Path

    def release(self) -> None:
        self.marker.unlink(missing_ok=True)

    def __enter__(self) -> Path:
        return self.stem

    def __exit__(self, *_: object) -> None:
        self.release()


def reserve_stem(
    outpath_samples: Path | str, seed: int, request_id: str = "", *, today: datetime.date | None = None
) -> Reservation:
    """Reserves the next free stem in today's folder, which is made if need be.

    The sequence number is one above the highest in the folder. It is reserved by creating a file that may not exist
    yet, which one of two runs (or two WebUIs on one output folder) can do and the other cannot.
    """
    folder = Path(outpath_samples) / "AnimateDiff" / (today or datetime.date.today()).isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    suffix = sanitise_request_id(request_id)
    number = _highest(folder) + 1
    while True:
        marker = folder / f".{number:05}.reserved"
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            number += 1
            continue
        # Between our look into the folder and our reservation another run may have written its files and left.
        highest = _highest(folder, reservations=False)
        if highest < number:
            return Reservation(folder / f"{number:05}-{int(seed)}{'-' + suffix if suffix else ''}", marker)
        marker.unlink(missing_ok=True)
        number = highest + 1


def sanitise_request_id(request_id: str) -> str:
    """A request's id as part of a file name on any system; what cannot stand in one becomes "_".

    Letters and digits of any script, "-", "_" and single dots within stay. At most 100 bytes. Names that Windows
    keeps for devices get a "_" in front.
    """
    text = unicodedata.normalize("NFC", request_id.strip())
    text = "".join(character if character.isalnum() or character in "-_." else "_" for character in text)
    text = re.sub(r"\.{2,}", "_", text)
    text = text.encode("utf-8", "ignore")[:_MAX_REQUEST_ID_BYTES].decode("utf-8", "ignore").strip(".")
    return f"_{text}" if text.split(".")[0].casefold() in _WINDOWS_DEVICES else text


def _highest(folder: Path, *, reservations: bool = True) -> int:
    """The highest sequence number in a folder, -1 in an empty one."""
    highest = -1
    for entry in os.scandir(folder):
        found = _NUMBERED.match(entry.name)
        if found is None and reservations:
            found = _RESERVATION.fullmatch(entry.name)
            if found is not None:
                _remove_if_stale(entry)
        if found is not None:
            highest = max(highest, int(found[1]))
    return highest


def _remove_if_stale(entry: os.DirEntry[str]) -> None:
    """Removes the reservation of a run that ended without releasing it; its number counts as taken this once more."""
    try:
        if time.time() - entry.stat().st_mtime > _STALE_SECONDS:
            os.unlink(entry.path)
    except FileNotFoundError:
        return
