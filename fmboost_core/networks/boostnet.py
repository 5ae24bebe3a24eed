"""BoostNet: the smallest network that FMBoost ships; a trunk between two convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bands import ROWS, ConvolutionInBands
from .trunk import CELL, WORKING_TENSORS, Trunk, TrunkConfig, pixel_norm
from .velocity import zeroed


@dataclass(frozen=True)
class BoostNetConfig(TrunkConfig):
    """Shape of a BoostNet: see `TrunkConfig`."""

    width: int = 128
    depth: int = 8


class BoostNet(Trunk):
    """Velocity field on the low-resolution grid, conditioned on t, σ and scale."""

    def __init__(self, config: BoostNetConfig) -> None:
        super().__init__(config)
        # 3×3 convolutions: stem, two in each block, head; each reaches one cell further.
        self.receptive_field = CELL * (2 * config.depth + 2)
        self.working_channels = WORKING_TENSORS * config.width // CELL**2
        cell_channels = config.latent_channels * CELL**2
        self.stem = nn.Conv2d(2 * cell_channels, config.width, 3, padding=1)
        # The untrained network's velocity is zero: the boost begins as plain interpolation.
        self.head = zeroed(nn.Conv2d(config.width, cell_channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        """See `VelocityNetwork`; H and W must be even, scale in [1, 2], and a context is needed."""
        h = self.through_blocks(self.stem(self.cells(x, self.needed(context))), t, sigma, scale)
        return F.pixel_shuffle(self.head(h), CELL)

    def in_bands(
        self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor, rows: int
    ) -> Tensor:
        """See `VelocityNetwork`; `rows` must be even."""
        context = self.needed(context)
        stem, head = ConvolutionInBands(self.stem), ConvolutionInBands(self.head)
        blocks = self.blocks_in_bands(t, sigma, scale)
        out, done = torch.empty_like(x), 0
        for start in range(0, x.shape[ROWS], rows):
            band, last = slice(start, start + rows), start + rows >= x.shape[ROWS]
            h = stem(self.cells(x[:, :, band], context[:, :, band]), last)
            for block in blocks:
                h = block(h, last)
            v = F.pixel_shuffle(head(pixel_norm(h), last), CELL)
            out[:, :, done : done + v.shape[ROWS]] = v
            done += v.shape[ROWS]
        return out
