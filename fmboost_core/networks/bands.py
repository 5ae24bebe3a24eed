"""Convolutions fed with a picture band by band, from top to bottom.

A layer keeps the last rows it has seen, so that nothing is computed twice and the result is that of the
whole picture; memory follows the band, not the picture. Each layer hands on the rows that it can be sure
of, one fewer than it was given at first, and the rest with the last band.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 2  # the dimension of the height in (B, C, H, W)


class ConvolutionInBands:
    """A 3×3 convolution with a border of zeros, over one picture.

    Args:
        convolution: the layer, with padding 1.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        self.convolution = convolution
        self.seen: Tensor | None = None

    def __call__(self, rows: Tensor, last: bool) -> Tensor:
        """The output rows (B, C', ≥0, W) that the next input rows (B, C, ≥0, W) complete."""
        layer = self.convolution
        border = rows.new_zeros(*rows.shape[:ROWS], 1, rows.shape[-1])
        border = border.contiguous(memory_format=torch.channels_last)
        parts = [border if self.seen is None else self.seen, rows, *([border] if last else [])]
        known = torch.cat(parts, ROWS).contiguous(memory_format=torch.channels_last)
        self.seen = known[:, :, -2:].clone()  # a view would keep the whole band
        if known.shape[ROWS] < 3:
            return rows.new_empty(len(rows), layer.out_channels, 0, rows.shape[-1])
        return F.conv2d(known, layer.weight, layer.bias, padding=(0, 1))


class Delay:
    """Rows held back until a slower branch has caught up."""

    def __init__(self) -> None:
        self.waiting: Tensor | None = None

    def __call__(self, rows: Tensor, count: int) -> Tensor:
        """Take in rows, give out the first `count` that wait."""
        waiting = rows if self.waiting is None else torch.cat([self.waiting, rows], ROWS)
        self.waiting = waiting[:, :, count:].clone()
        return waiting[:, :, :count]
