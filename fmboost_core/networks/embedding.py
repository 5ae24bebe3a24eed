"""Sinusoidal embedding of a scalar condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoidal(values: Tensor, dim: int, max_period: float = 10_000) -> Tensor:
    """Cosines then sines of `values` at geometrically spaced frequencies.

    Args:
        values: shape (B,); the embedding resolves differences of about 1.
        dim: even size of the result.

    Returns:
        Shape (B, dim), fp32. (Vaswani et al. 2017; the order is that of Dhariwal & Nichol 2021.)
    """
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float32, device=values.device) / half
    angles = values.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
