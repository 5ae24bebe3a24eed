"""What is random in a training step: it follows from the seed, the step and an item's number alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .config import TrainConfig

CLOSE_AT_BORDER = 0.3  # probability that the close part lies at a border that its window has


def draw(
    config: TrainConfig, step: int, items: list[int], shape: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a step's items are, each one's own.

    Returns:
        Noise (N, *shape), noise levels σ (N,), times t (N,), and which learn the VAE route, bool (N,).
    """
    noise, levels, times, routed = [], [], [], []
    low, high = config.sigma_range
    route = config.route * (1 - step / config.steps)
    for item in items:
        rng = np.random.default_rng([config.seed, step, item])
        level, when, kind, begin = rng.random(4)
        clean = kind < config.clean
        levels.append(low if clean else low + level * (high - low))
        times.append(0.0 if clean or begin < config.start else when)
        routed.append(kind < config.clean * route)
        noise.append(torch.from_numpy(rng.standard_normal(shape, np.float32)))
    sigma, t = (torch.tensor(values, dtype=torch.float32) for values in (levels, times))
    return torch.stack(noise), sigma, t, torch.tensor(routed)


def draw_close(
    rng: np.random.Generator, share: float, whole: int, inner: tuple[slice, slice]
) -> tuple[slice, slice]:
    """Rows and columns of a square in a larger one, whose side is that share of it.

    It lies within the inner rows and columns as far as it finds room there; and where these reach the
    larger square's border, often at that.
    """
    side = max(1, round(share * whole))
    rows, columns = (_draw_part(rng, side, whole, part) for part in inner)
    return rows, columns


def _draw_part(rng: np.random.Generator, side: int, whole: int, inner: slice) -> slice:
    first = min(inner.start, whole - side)
    last = max(first, inner.stop - side)
    borders = [start for start in (0, whole - side) if first <= start <= last]
    at_border = bool(borders) and rng.random() < CLOSE_AT_BORDER
    start = int(rng.choice(borders) if at_border else rng.integers(first, last + 1))
    return slice(start, start + side)
