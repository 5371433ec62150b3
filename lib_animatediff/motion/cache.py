"""The loaded motion models, kept so that the next run need not read them again."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections import OrderedDict
from pathlib import Path

from lib_animatediff.errors import ModelFileError
from lib_animatediff.motion.files import MotionModel, load_motion_model

Key = tuple[Path, int, int]


class MotionModelCache:
    """At most ``limit`` motion models, the least recently used given up first; safe to use from several threads.

    A model is known by path, size and time of change: a file that was replaced is read anew.
    """

    def __init__(self, limit: int = 1):
        self._models: OrderedDict[Key, MotionModel] = OrderedDict()
        self._lock = threading.RLock()
        self._limit = _checked_limit(limit)

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._lock:
            self._limit = _checked_limit(limit)
            self._trim(self._limit)

    def get(self, path: str | Path) -> MotionModel:
        """The model of ``path``, from the file when it is not here. Raises ModelFileError as load_motion_model does."""
        path = Path(path).resolve()
        with self._lock:
            key = _key(path)
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
            for stale in [other for other in self._models if other[0] == path]:
                self._models.pop(stale).release()
            self._trim(max(self._limit - 1, 0))  # before reading, so that the peak is ``limit`` models
            gc.collect()  # the traceback of a failed run may hold its model in a cycle
            model = load_motion_model(path)
            if self._limit:
                self._models[key] = model
            _return_free_memory()
            return model

    def to_cpu(self) -> None:
        """Move the weights of every model to main memory."""
        with self._lock:
            for model in self._models.values():
                model.release()
                model.to("cpu")

    def clear(self) -> None:
        """Forget every model; their memory is free once no run uses them."""
        with self._lock:
            self._trim(0)
        gc.collect()
        _return_free_memory()

    def __len__(self) -> int:
        return len(self._models)

    def _trim(self, size: int) -> None:
        while len(self._models) > size:
            self._models.popitem(last=False)[1].release()


def _checked_limit(limit: int) -> int:
    if limit < 0:
        raise ValueError(f"the limit of loaded motion models is {limit}; it must be 0 or more")
    return limit


def _key(path: Path) -> Key | None:
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelFileError(f"There is no file {path.name} in {path.parent}, or it cannot be read.") from error
    return path, stat.st_size, stat.st_mtime_ns


def _return_free_memory() -> None:
    """Give what the heap holds free back to the system, where the C library can be asked to (glibc).

    Each thread has a heap of its own there, and a server runs its requests in many: what reading a file left free in
    one is of no use to the next.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)


loaded_models = MotionModelCache()
