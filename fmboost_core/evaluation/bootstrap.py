"""How sure a number is: bootstrap intervals over pictures (Efron 1979), percentiles of resamples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES = 2000
COSTLY_RESAMPLES = 200  # for statistics that take an eigendecomposition each
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A number over all pictures, and the interval that holds 95 % of its resamples.

    Attributes:
        value: the number.
        low, high: the interval's ends; None where it was not resampled.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def resampling_weights(pictures: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Tensor:
    """Weights (1 + resamples, pictures): the first row equal, the others drawn with replacement."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(pictures, (resamples, pictures), generator=generator)
    counts = torch.zeros(resamples, pictures, dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return torch.cat([torch.ones(1, pictures, dtype=torch.float64), counts]) / pictures


def interval(values: Tensor) -> Interval:
    """Interval of a statistic's values under `resampling_weights`, the first being that of all pictures."""
    value = values[0].item()
    if len(values) == 1:
        return Interval(value)
    tail = (1 - CONFIDENCE) / 2
    resampled = values[1:].sort().values
    # Without interpolation, which between infinite values would give NaN.
    last = len(resampled) - 1
    return Interval(value, resampled[round(tail * last)].item(), resampled[round((1 - tail) * last)].item())


def mean_of(values: Tensor, weights: Tensor) -> Tensor:
    """The mean over pictures of (pictures,) values under each of R weightings (R, pictures); (R,)."""
    if torch.isfinite(values).all():
        return weights @ values
    # 0 · ∞ is NaN, but a picture that was not drawn counts nothing.
    return torch.where(weights > 0, weights * values, 0).sum(-1)


def ratio_of(numerators: Tensor, denominators: Tensor, weights: Tensor) -> Tensor:
    """The ratio of two sums over pictures, 1 where both are 0, under each of R weightings; (R,)."""
    above, below = weights @ numerators, weights @ denominators
    return torch.where((above == 0) & (below == 0), 1.0, above / below)
