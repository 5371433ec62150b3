"""Time spent in the parts of the start-up."""

from __future__ import annotations

import time


class Timer:
    """Seconds by category, summed; `record` closes the part that began at the last call."""

    def __init__(self) -> None:
        self.start = self._last = time.perf_counter()
        self.records: dict[str, float] = {}

    def record(self, category: str) -> None:
        now = time.perf_counter()
        self.records[category] = self.records.get(category, 0.0) + now - self._last
        self._last = now

    def summary(self) -> str:
        parts = ", ".join(f"{name}: {seconds:.1f}s" for name, seconds in self.records.items() if seconds >= 0.1)
        return f"{self._last - self.start:.1f}s" + (f" ({parts})" if parts else "")


startup_timer = Timer()
