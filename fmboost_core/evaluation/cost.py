"""What a method costs: time, network evaluations, memory."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial

import torch

from ..bench.timing import milliseconds
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
    call = partial(method.enlarge, example)
    times = [milliseconds(call, example.low.device) for _ in range(REPEATS)]
    return Cost(method.evaluations(example), statistics.median(times), memory.peak)
