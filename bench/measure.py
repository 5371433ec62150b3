"""Time and memory, measured so that other work on the machine falls on all candidates alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Times:
    """Seconds of every round, in order."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def ratio(self, other: Times) -> float:
        """Median over the rounds of this time by the other's in the same round."""
        return statistics.median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, as a part of the median."""
        low, _, high = statistics.quantiles(self.rounds, n=4)
        return (high - low) / 2 / self.median


def interleaved(candidates: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, Times]:
    """Run the candidates in turn, ``rounds`` times after one that does not count, each round in another order.

    A single CPU thread is timed by its processor time, which other work on the machine disturbs less.
    """
    clock = time.thread_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for i in range(-1, rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            _synchronize(device)
            start = clock()
            candidates[name]()
            _synchronize(device)
            if i >= 0:
                seconds[name].append(clock() - start)
    return {name: Times(tuple(times)) for name, times in seconds.items()}


def peak_bytes(run: Callable[[], object], device: str) -> int:
    """Most memory that ``run`` has allocated at one time, beyond what was there before; its result included."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler talks between the rows of the table
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = (event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]")
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
