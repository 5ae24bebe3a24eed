"""Features of the small latent's grids on those of the large one, whatever the scale.

A feature describes several pixels at once; to blend it with its neighbours, as pictures are enlarged, mixes
up which is where. So each place takes the features of the nearest place there, and what a convolution says
of how they change from there to here, to first order. Where each place has its own there is no change.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..upsampling import Size, size_of
from .bands import ROWS, ConvolutionInBands, Meeting, SequenceInBands


def nearest(there: int, here: int, count: int) -> tuple[Tensor, Tensor]:
    """Where the places of one side lie among those of another grid over the same length.

    Args:
        there: places of the grid that is taken from.
        here: places of this grid.
        count: how many of these to tell of; those beyond the last are as the last.

    Returns:
        The nearest place there, int64, and how far beyond it this one lies, -0.5 to 0.5; each (count,).
    """
    centres = (torch.arange(count).clamp(max=here - 1) + 0.5) * (there / here) - 0.5
    index = (centres + 0.5).floor()
    return index.long(), centres - index


class Resampling(nn.Module):
    """Features of a grid → features at the places of another one over the same picture.

    Args:
        width: channels, in and out.
        value: layer, or none, that says what is to be seen at a place; within one pixel around it.
    """

    def __init__(self, width: int, value: nn.Module | None = None) -> None:
        super().__init__()
        self.value = nn.Identity() if value is None else value
        self.slope = nn.Conv2d(width, 2 * width, 3, padding=1)  # a pixel further down, and to the right

    def forward(self, features: Tensor, size: Size, grown: Size | None = None) -> Tensor:
        """Features (B, C, h, w) → (B, C, H, W).

        Args:
            size: H and W of the other grid.
            grown: larger ones, to repeat the last row and column as often.
        """
        value = self.value(features)
        if size_of(features) == size == (grown or size):
            return value
        places = [nearest(*sides) for sides in zip(size_of(features), size, grown or size, strict=True)]
        (rows, down), (columns, right) = ((i.to(value.device), o.to(value)) for i, o in places)
        out = _taken(value, rows, columns)
        # One direction after the other, and without names for what is large: that saves memory.
        weights, biases = self.slope.weight.chunk(2), cast(Tensor, self.slope.bias).chunk(2)
        moves = (there != here for there, here in zip(size_of(features), size, strict=True))
        for weight, bias, offset, moved in zip(weights, biases, (down[:, None], right), moves, strict=True):
            if moved:
                slope = F.conv2d(features, weight, bias, padding=1)
                out = out.addcmul(_taken(slope, rows, columns), offset)
        return out


def _taken(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return features.index_select(ROWS, rows).index_select(ROWS + 1, columns)


class ResamplingInBands:
    """A resampling over one picture, band by band.

    Args:
        layer: the resampling.
        there, here, grown: heights and widths of the whole, as `Resampling.forward` takes them.
    """

    def __init__(self, layer: Resampling, there: Size, here: Size, grown: Size) -> None:
        places = [nearest(*sides) for sides in zip(there, here, grown, strict=True)]
        (self.rows, self.down), (self.columns, self.right) = places
        self.moved = there != here
        self.value, self.slope = SequenceInBands([layer.value]), ConvolutionInBands(layer.slope)
        self.meeting = Meeting()
        self.waiting: Tensor | None = None
        self.first = self.done = 0  # the first row that waits, and the rows given out

    def __call__(self, features: Tensor, last: bool) -> Tensor:
        """The rows (B, C, ≥0, W) that the next input rows (B, C, ≥0, w) complete."""
        parts = self.value(features, last)
        if self.moved:
            parts = torch.cat(self.meeting(parts, self.slope(features, last)), 1)
        if self.waiting is not None:
            parts = torch.cat([self.waiting, parts], ROWS)
        known = self.first + parts.shape[ROWS]
        stop = int(torch.searchsorted(self.rows, known))  # rows are in their order
        ready, self.done = slice(self.done, stop), stop
        rows, columns = (i.to(parts.device) for i in (self.rows[ready] - self.first, self.columns))
        value, *slopes = parts.chunk(3 if self.moved else 1, 1)
        out = _taken(value, rows, columns)
        for slope, offset in zip(slopes, (self.down[ready, None], self.right), strict=False):
            out.addcmul_(_taken(slope, rows, columns), offset.to(out))
        needed = known if stop == len(self.rows) else min(known, int(self.rows[stop]))
        self.waiting, self.first = parts[:, :, needed - self.first :].clone(), needed
        return out
