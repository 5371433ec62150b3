"""One generation at a time, in the order they were asked for."""

from __future__ import annotations

import collections
import html
import threading
import time
from functools import wraps

from modules import errors, progress, shared


class FIFOLock:
    """A lock granted in the order of the calls."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._busy = False
        self._waiting: collections.deque[threading.Event] = collections.deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._guard:
            if not self._busy:
                self._busy = True
                return True
            if not blocking:
                return False
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()
        return True

    def release(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._busy = False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_) -> None:
        self.release()


queue_lock = FIFOLock()


def wrap_queued_call(func):
    """`func` under the queue's lock."""

    @wraps(func)
    def call(*args, **kwargs):
        with queue_lock:
            return func(*args, **kwargs)

    return call


def wrap_gradio_gpu_call(func, extra_outputs: list | None = None):
    """A page's handler that generates: queued, with progress under the task id in its first argument."""

    @wraps(func)
    def call(*args, **kwargs):
        first = args[0] if args else None
        is_id = isinstance(first, str) and first.startswith("task(") and first.endswith(")")
        id_task = first if is_id else None
        if is_id:
            progress.add_task_to_queue(id_job=first)
        with queue_lock:
            shared.state.begin(job=id_task or "page")
            progress.start_task(id_task)
            try:
                result = func(*args, **kwargs)
                progress.record_results(id_task, result)
            finally:
                progress.finish_task(id_task)
                shared.state.end()
        return result

    return wrap_gradio_call(call, extra_outputs=extra_outputs, add_stats=True)


def wrap_gradio_call(func, extra_outputs: list | None = None, add_stats: bool = False):
    """A page's handler: an exception becomes a red line in the last output, with `extra_outputs` before it."""

    @wraps(func)
    def call(*args, **kwargs):
        started = time.perf_counter()
        try:
            result = list(func(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the page shows it
            errors.report(f"Error completing request\nArguments: {args!s:.100000} {kwargs!s:.10000}", exc_info=True)
            message = html.escape(f"{type(error).__name__}: {error}")
            blank = [None, ""] if extra_outputs is None else extra_outputs
            result = [*blank, f"<div class='error'>{message}</div>"]
        if add_stats:
            minutes, seconds = divmod(time.perf_counter() - started, 60)
            text = (f"{int(minutes)} min. " if minutes else "") + f"{seconds:.1f} sec."
            result[-1] += f"<div class='performance'><p class='time'>Time taken: {text}</p></div>"
        return tuple(result)

    return call


wrap_gradio_call_no_job = wrap_gradio_call
