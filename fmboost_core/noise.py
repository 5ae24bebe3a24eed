"""Seeded noise that depends on the item's own seed alone: not on its batch, device or precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SEED_MODULUS = 2**64


class NoiseSource:
    """One random stream per batch item; each draw continues the streams.

    Args:
        seeds: one seed for each item, any integers.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        # On the CPU and in fp32, so that every device gets the same numbers.
        self.streams = [torch.Generator("cpu").manual_seed(seed % SEED_MODULUS) for seed in seeds]

    def draw(self, *shape: int) -> Tensor:
        """Standard Gaussian of shape (items, *shape), fp32 on the CPU."""
        noise = torch.empty(len(self.streams), *shape)
        for item, stream in zip(noise, self.streams, strict=True):
            torch.randn(shape, generator=stream, out=item)
        return noise
