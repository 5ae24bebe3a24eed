"""What the networks that FMBoost ships have in common: a conditioned trunk on the low-resolution grid.

Pictures are pixel-unshuffled into cells, so that there are four times fewer operations than on the output
grid. Each pixel is normalised over its channels alone and there is no attention: an output depends on a
known neighbourhood and nothing else. Fed band by band, the trunk therefore gives the very numbers of the
whole picture.
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
class TrunkConfig:
    """Shape of a network with a trunk.

    Attributes:
        latent_channels: channels of the latent it transports.
        width: channels of the trunk; a multiple of 64, which CPU and tensor-core kernels want.
        depth: residual blocks of two 3×3 convolutions.
    """

    latent_channels: int = 4
    width: int = 192
    depth: int = 4

    def __post_init__(self) -> None:
        network = type(self).__name__.removesuffix("Config")
        for name in ("latent_channels", "width", "depth"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{network}: {name} is {value!r}; it must be a positive whole number")
        if self.width % 64:
            raise InputError(f"{network}: width is {self.width}; it must be a multiple of 64")

    @property
    def blocks(self) -> int:
        """Blocks in all, by which a reader sees an absurd claim before building anything."""
        return self.depth


def pixel_norm(x: Tensor) -> Tensor:
    """Layer normalisation of each pixel over its channels: nothing of its neighbours enters."""
    nhwc = x.permute(0, 2, 3, 1)
    return F.layer_norm(nhwc, nhwc.shape[-1:], eps=1e-5).permute(0, 3, 1, 2)


class Block(nn.Module):
    """x + conv(silu(conv(modulate(norm(x))))), modulated by the condition (FiLM, Perez et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        h = torch.addcmul(shift, pixel_norm(x), gain)
        return x + self.conv2(F.silu(self.conv1(h)))


class BlockInBands:
    """A block over one picture, band by band."""

    def __init__(self, block: Block, gain: Tensor, shift: Tensor) -> None:
        self.conv1, self.conv2 = ConvolutionInBands(block.conv1), ConvolutionInBands(block.conv2)
        self.gain, self.shift, self.skip = gain, shift, Delay()

    def __call__(self, rows: Tensor, last: bool) -> Tensor:
        # In place where it can be: bands are for saving memory, and nothing is trained in them.
        h = self.conv1(pixel_norm(rows).mul_(self.gain).add_(self.shift), last)
        change = self.conv2(F.silu(h, inplace=True), last)
        return change.add_(self.skip(rows, change.shape[ROWS]))


class Trunk(VelocityNetwork):
    """Base of networks with such a trunk: `blocks`, and the `condition` that modulates them.

    Args:
        config: with latent_channels, width and depth.
    """

    size_multiple = CELL
    streams = True

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config.width) for _ in range(config.depth))
        modulation = zeroed(nn.Linear(config.width, 2 * config.width * config.depth))
        self.condition = nn.Sequential(nn.Linear(3 * CONDITION_DIM, config.width), nn.SiLU(), modulation)

    def needed(self, context: Tensor | None) -> Tensor:
        """The context. Raises `InputError` where there is none."""
        if context is None:
            kind = "small" if self.upsamples else "upsampled"
            raise InputError(f"{type(self).__name__} needs the {kind} latent as context")
        return context

    def cells(self, x: Tensor, context: Tensor) -> Tensor:
        """What the network sees, on the low-resolution grid: x's cells, then the context's."""
        cells = F.pixel_unshuffle(torch.cat([x, context], dim=1), CELL)
        return cells.contiguous(memory_format=torch.channels_last)

    def modulation(self, t: Tensor, sigma: Tensor, scale: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each block's gain and shift, (B, width, 1, 1)."""
        conditions = torch.stack([t.float(), sigma.float(), scale.float().log2()])
        embedded = [sinusoidal(c * CONDITION_RESOLUTION, CONDITION_DIM) for c in conditions]
        weight = cast(nn.Linear, self.condition[0]).weight
        modulation = self.condition(torch.cat(embedded, dim=-1).to(weight.dtype))
        modulation = modulation.unflatten(1, (self.config.depth, 2, -1, 1, 1))
        gains, shifts = 1 + modulation[:, :, 0], modulation[:, :, 1]
        return list(zip(gains.unbind(1), shifts.unbind(1), strict=True))

    def through_blocks(self, h: Tensor, t: Tensor, sigma: Tensor, scale: Tensor) -> Tensor:
        """The trunk's features (B, width, h, w), normalised, from the stem's."""
        for block, (gain, shift) in zip(self.blocks, self.modulation(t, sigma, scale), strict=True):
            h = block(h, gain, shift)
        return pixel_norm(h)

    def blocks_in_bands(self, t: Tensor, sigma: Tensor, scale: Tensor) -> list[BlockInBands]:
        pairs = zip(cast(Iterable[Block], self.blocks), self.modulation(t, sigma, scale), strict=True)
        return [BlockInBands(block, *conditions) for block, conditions in pairs]
