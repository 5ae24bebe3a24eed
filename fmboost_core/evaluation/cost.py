"""What a method costs: time, network evaluations, memory."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from ..peak_memory import PeakMemory
from .example import Example
from .methods import Method

REPEATS = 3


@dataclass(frozen=True)
class Cost:
    """Of getting from the small latent to the large one (or, for a pixel method, to the picture).

    Attributes:
        evaluations: of the boosting network; None where an adaptive solver decides.
        milliseconds: median of three runs after a warm-up.
        peak_bytes: of the tensors made on the way, the result included.
    """

    evaluations: int | None
    milliseconds: float
    peak_bytes: int


@torch.inference_mode()
def measure_cost(method: Method, example: Example) -> Cost:
    """Run a method alone on one example."""
    with PeakMemory() as memory:
        method.enlarge(example)
    times = []
    for _ in range(REPEATS):
        _finish(example)
        start = time.perf_counter()
        method.enlarge(example)
        _finish(example)
        times.append(time.perf_counter() - start)
    return Cost(method.evaluations(example), 1000 * statistics.median(times), memory.peak)


def _finish(example: Example) -> None:
    """Wait for the device, which works on while Python goes ahead."""
    kind = example.low.device.type
    if kind != "cpu":
        getattr(torch, kind).synchronize()
