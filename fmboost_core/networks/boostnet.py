"""BoostNet: the small, local network that FMBoost ships.

It works on the low-resolution grid (pixel-unshuffled by 2, so four times fewer operations than on
the output grid), normalises each pixel over its channels alone and has no attention: its output at
a pixel depends on a known neighbourhood and nothing else. Fed band by band it therefore gives the very
numbers of the whole image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .bands import ROWS, ConvolutionInBands, Delay
from .embedding import sinusoidal
from .velocity import VelocityNetwork, zeroed

CELL = 2  # output pixels along one side of a cell of the low-resolution grid
WORKING_TENSORS = 6  # of the trunk's width that a block keeps at once
CONDITION_DIM = 64  # embedding size of each of t, σ and scale
CONDITION_RESOLUTION = 1000.0  # t, σ and log2(scale) lie in [0, 1]; sinusoids resolve steps of 1


@dataclass(frozen=True)
class BoostNetConfig:
    """Shape of a BoostNet.

    Attributes:
        latent_channels: channels of the latent it transports.
        width: channels of the trunk; a multiple of 64, which CPU and tensor-core kernels want.
        depth: residual blocks of two 3×3 convolutions.
    """

    latent_channels: int = 4
    width: int = 128
    depth: int = 8

    def __post_init__(self) -> None:
        for name in ("latent_channels", "width", "depth"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"BoostNet: {name} is {value!r}; it must be a positive whole number")
        if self.width % 64:
            raise InputError(f"BoostNet: width is {self.width}; it must be a multiple of 64")

    @property
    def blocks(self) -> int:
        """Blocks in all, by which a reader sees an absurd claim before building anything."""
        return self.depth


def _pixel_norm(x: Tensor) -> Tensor:
    """Layer normalisation of each pixel over its channels: nothing of its neighbours enters."""
    nhwc = x.permute(0, 2, 3, 1)
    return F.layer_norm(nhwc, nhwc.shape[-1:], eps=1e-5).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """x + conv(silu(conv(modulate(norm(x))))), modulated by the condition (FiLM, Perez et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        h = torch.addcmul(shift, _pixel_norm(x), gain)
        return x + self.conv2(F.silu(self.conv1(h)))


class _BlockInBands:
    """A block over one picture, band by band."""

    def __init__(self, block: _Block, gain: Tensor, shift: Tensor) -> None:
        self.conv1, self.conv2 = ConvolutionInBands(block.conv1), ConvolutionInBands(block.conv2)
        self.gain, self.shift, self.skip = gain, shift, Delay()

    def __call__(self, rows: Tensor, last: bool) -> Tensor:
        # In place where it can be: bands are for saving memory, and nothing is trained in them.
        h = self.conv1(_pixel_norm(rows).mul_(self.gain).add_(self.shift), last)
        change = self.conv2(F.silu(h, inplace=True), last)
        return change.add_(self.skip(rows, change.shape[ROWS]))


class BoostNet(VelocityNetwork):
    """Velocity field on the low-resolution grid, conditioned on t, σ and scale."""

    def __init__(self, config: BoostNetConfig) -> None:
        super().__init__()
        self.config = config
        self.size_multiple = CELL
        self.streams = True
        # 3×3 convolutions: stem, two in each block, head; each reaches one cell further.
        self.receptive_field = CELL * (2 * config.depth + 2)
        self.working_channels = WORKING_TENSORS * config.width // CELL**2
        cell_channels = config.latent_channels * CELL**2
        self.stem = nn.Conv2d(2 * cell_channels, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(config.width) for _ in range(config.depth))
        self.head = nn.Conv2d(config.width, cell_channels, 3, padding=1)
        modulation = nn.Linear(config.width, 2 * config.width * config.depth)
        self.condition = nn.Sequential(nn.Linear(3 * CONDITION_DIM, config.width), nn.SiLU(), modulation)
        # The untrained network's velocity is zero: the boost begins as plain interpolation.
        zeroed(self.head)
        zeroed(modulation)

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        """See `VelocityNetwork`; H and W must be even, scale in [1, 2], and a context is needed."""
        h = self.stem(self._cells(x, context))
        for block, (gain, shift) in zip(self.blocks, self._modulation(t, sigma, scale), strict=True):
            h = block(h, gain, shift)
        return F.pixel_shuffle(self.head(_pixel_norm(h)), CELL)

    def in_bands(
        self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor, rows: int
    ) -> Tensor:
        """See `VelocityNetwork`; `rows` must be even."""
        modulation = self._modulation(t, sigma, scale)
        stem, head = ConvolutionInBands(self.stem), ConvolutionInBands(self.head)
        pairs = zip(cast(Iterable[_Block], self.blocks), modulation, strict=True)
        blocks = [_BlockInBands(block, *conditions) for block, conditions in pairs]
        out, done = torch.empty_like(x), 0
        for start in range(0, x.shape[ROWS], rows):
            band, last = slice(start, start + rows), start + rows >= x.shape[ROWS]
            h = stem(self._cells(x[:, :, band], None if context is None else context[:, :, band]), last)
            for block in blocks:
                h = block(h, last)
            v = F.pixel_shuffle(head(_pixel_norm(h), last), CELL)
            out[:, :, done : done + v.shape[ROWS]] = v
            done += v.shape[ROWS]
        return out

    def _cells(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What the network sees, on the low-resolution grid."""
        if context is None:
            raise InputError("BoostNet needs the upsampled latent as context")
        cells = F.pixel_unshuffle(torch.cat([x, context], dim=1), CELL)
        return cells.contiguous(memory_format=torch.channels_last)

    def _modulation(self, t: Tensor, sigma: Tensor, scale: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each block's gain and shift, (B, width, 1, 1)."""
        conditions = torch.stack([t.float(), sigma.float(), scale.float().log2()])
        embedded = [sinusoidal(c * CONDITION_RESOLUTION, CONDITION_DIM) for c in conditions]
        modulation = self.condition(torch.cat(embedded, dim=-1).to(self.stem.weight.dtype))
        modulation = modulation.unflatten(1, (self.config.depth, 2, -1, 1, 1))
        gains, shifts = 1 + modulation[:, :, 0], modulation[:, :, 1]
        return list(zip(gains.unbind(1), shifts.unbind(1), strict=True))
