"""Honest timing of a call."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

LEAST_RUNS, MOST_RUNS = 5, 50
PATIENCE = 30.0  # seconds; a call that takes longer is run once, without a warm-up


@dataclass(frozen=True)
class Timing:
    """Milliseconds of several runs after a warm-up; of one run, warm-up and all, where that took long."""

    median: float
    fastest: float
    slowest: float
    runs: int

    def times(self, calls: int) -> Timing:
        """Of that many calls in a row."""
        return Timing(calls * self.median, calls * self.fastest, calls * self.slowest, self.runs)


def time_call(call: Callable[[], object], device: torch.device, seconds: float = 2.0) -> Timing:
    """Time a call over and over, for some seconds and at least `LEAST_RUNS` times."""
    times = [milliseconds(call, device)]
    if times[0] < 1000 * PATIENCE:
        end = time.monotonic() + seconds
        times = []
        while len(times) < LEAST_RUNS or (time.monotonic() < end and len(times) < MOST_RUNS):
            times.append(milliseconds(call, device))
    return Timing(statistics.median(times), min(times), max(times), len(times))


def milliseconds(call: Callable[[], object], device: torch.device) -> float:
    """One run of a call, the device's work included."""
    _finish(device)
    start = time.perf_counter()
    call()
    _finish(device)
    return 1000 * (time.perf_counter() - start)


def _finish(device: torch.device) -> None:
    """Wait for the device, which works on while Python goes ahead."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()
