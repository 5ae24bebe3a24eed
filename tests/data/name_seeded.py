"""Weights and inputs drawn from their names, so that golden data need not store them."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor, nn


def seeded_normal(name: str, shape: tuple[int, ...]) -> Tensor:
    """Draws a float32 standard normal tensor that depends on ``name`` and ``shape`` alone."""
    state = np.random.RandomState(zlib.crc32(name.encode()))
    return torch.from_numpy(state.standard_normal(shape).astype(np.float32))


@torch.no_grad()
def fill_by_name(module: nn.Module) -> None:
    """Overwrites every parameter, zero-initialised ones too, at scales that keep activations sane.

    Kernels and matrices have variance 1/fan_in, biases a deviation of 0.1, and the weights of
    normalisations lie around 1.
    """
    for name, parameter in module.named_parameters():
        values = seeded_normal(name, tuple(parameter.shape))
        if parameter.ndim > 1:
            values /= parameter[0].numel() ** 0.5
        elif name.endswith("bias"):
            values *= 0.1
        else:
            values = 1 + 0.1 * values
        parameter.copy_(values)
