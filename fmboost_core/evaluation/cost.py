"""What a method costs: time, network evaluations, memory."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from ..bench.timing import finish
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
        finish(example.low.device)
        start = time.perf_counter()
        method.enlarge(example)
        finish(example.low.device)
        times.append(time.perf_counter() - start)
    return Cost(method.evaluations(example), 1000 * statistics.median(times), memory.peak)
