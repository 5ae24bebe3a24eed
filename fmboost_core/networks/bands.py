"""Layers fed with a picture band by band, from top to bottom.

A layer keeps the last rows it has seen, so that nothing is computed twice and the result is that of the
whole picture; memory follows the band, not the picture. Each layer hands on the rows that it can be sure
of, one fewer than it was given at first, and the rest with the last band.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..tiny_vae import Residual

ROWS = 2  # the dimension of the height in (B, C, H, W)


class ConvolutionInBands:
    """A 3×3 convolution with a border of zeros, over one picture.

    Args:
        convolution: the layer, with padding 1; its stride divides the picture's height.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        self.convolution, self.stride = convolution, convolution.stride[0]
        self.seen: Tensor | None = None

    def __call__(self, rows: Tensor, last: bool) -> Tensor:
        """The output rows (B, C', ≥0, W') that the next input rows (B, C, ≥0, W) complete."""
        layer, stride = self.convolution, self.stride
        border = rows.new_zeros(*rows.shape[:ROWS], 1, rows.shape[-1])
        border = border.contiguous(memory_format=torch.channels_last)
        parts = [border if self.seen is None else self.seen, rows, *([border] if last else [])]
        known = torch.cat(parts, ROWS).contiguous(memory_format=torch.channels_last)
        count = max(0, (known.shape[ROWS] - 3) // stride + 1)
        self.seen = known[:, :, stride * count :].clone()  # a view would keep the whole band
        if not count:
            return rows.new_empty(len(rows), layer.out_channels, 0, rows.shape[-1] // stride)
        return F.conv2d(known, layer.weight, layer.bias, stride, padding=(0, 1))


class Delay:
    """Rows held back until a slower branch has caught up."""

    def __init__(self) -> None:
        self.waiting: Tensor | None = None

    def __call__(self, rows: Tensor, count: int) -> Tensor:
        """Take in rows, give out the first `count` that wait."""
        waiting = rows if self.waiting is None else torch.cat([self.waiting, rows], ROWS)
        self.waiting = waiting[:, :, count:].clone()
        return waiting[:, :, :count]


class Meeting:
    """Rows of two branches, each held back until the other has them, too."""

    def __init__(self) -> None:
        self.waiting: list[Tensor] = []

    def __call__(self, *branches: Tensor) -> list[Tensor]:
        held = list(branches)
        if self.waiting:
            held = [torch.cat(parts, ROWS) for parts in zip(self.waiting, branches, strict=True)]
        count = min(rows.shape[ROWS] for rows in held)
        self.waiting = [rows[:, :, count:].clone() for rows in held]
        return [rows[:, :, :count] for rows in held]


class CellsInBands:
    """Pixel-unshuffling; rows are held back until they fill whole cells.

    Args:
        cell: rows and columns in each.
    """

    def __init__(self, cell: int) -> None:
        self.cell, self.delay, self.waiting = cell, Delay(), 0

    def __call__(self, rows: Tensor) -> Tensor:
        """Take in rows (B, C, ≥0, W), give out cells (B, C·cell², ≥0, W / cell)."""
        cells, self.waiting = divmod(self.waiting + rows.shape[ROWS], self.cell)
        whole = self.delay(rows, cells * self.cell)
        if cells:
            return F.pixel_unshuffle(whole, self.cell)
        # Of no rows torch makes no cells.
        return rows.new_empty(len(rows), rows.shape[1] * self.cell**2, 0, rows.shape[-1] // self.cell)


class SequenceInBands:
    """The layers of a tiny VAE, one after the other, over one picture.

    Args:
        layers: 3×3 convolutions with padding 1, `Residual`, doubling `nn.Upsample`; all others are taken to
            act on each pixel for itself.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        self.layers = [_in_bands(layer) for layer in layers]

    def __call__(self, rows: Tensor, last: bool) -> Tensor:
        for layer in self.layers:
            rows = layer(rows, last)
        return rows


class _ResidualInBands:
    def __init__(self, layer: Residual) -> None:
        self.change, self.skip = SequenceInBands(layer.conv), Delay()

    def __call__(self, rows: Tensor, last: bool) -> Tensor:
        change = self.change(rows, last)
        return change.add_(self.skip(rows, change.shape[ROWS])).relu_()


def _in_bands(layer: nn.Module) -> Callable[[Tensor, bool], Tensor]:
    if isinstance(layer, nn.Conv2d):
        return ConvolutionInBands(layer)
    if isinstance(layer, Residual):
        return _ResidualInBands(layer)
    if isinstance(layer, nn.Upsample):  # which refuses a band without rows
        return lambda rows, last: rows.repeat_interleave(2, ROWS).repeat_interleave(2, ROWS + 1)
    return lambda rows, last: layer(rows)
