"""BridgeNet: a trunk between the first stages of a tiny VAE's decoder and the last stage of its encoder.

To enlarge a picture by a VAE means to decode it, to enlarge the pixels, and to encode again; nearly all of
that work is done at the resolutions of the pixels. BridgeNet takes the same way without going there: the
decoder's first three resolutions read the small latent, the encoder's last two write the large latent, and
what lies between is one convolution, at twice the resolution of the large latent. For all that this way
cannot do there is BoostNet's trunk beside it. It starts from the weights of a tiny VAE
(`training/warm_start.py`) and all of it is trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..flow import velocity_to
from ..tiny_vae import WIDTH, TinyDecoder, TinyEncoder
from .bands import ROWS, CellsInBands, ConvolutionInBands, Delay, Meeting, SequenceInBands
from .trunk import CELL, WORKING_TENSORS, Trunk, TrunkConfig, pixel_norm
from .velocity import zeroed

DEVIATION = 0.5  # of large latents from upsampled small ones; measured: sd3 0.41, flux 0.52, sdxl 0.71
# The tiny decoder's layers that are taken, three resolutions, and the tiny encoder's, two. At the highest,
# where they meet, a block of three is left out on each side: a step teaches as much, and takes less time.
COARSE, FINE, WIDE = slice(0, 6), slice(6, 11), slice(11, 15)
NARROW, WRITER = slice(8, 11), slice(11, 15)
REACH, SHORT_REACH = 9, 6  # pixels of a resolution that three blocks reach, and two
WORKING_LAYERS = 4  # of the tiny VAE's width that are kept at once, in each of the two finer resolutions


@dataclass(frozen=True)
class BridgeNetConfig(TrunkConfig):
    """Shape of a BridgeNet: see `TrunkConfig`."""


class BridgeNet(Trunk):
    """Predicts the path's endpoint, from which the velocity follows (`flow.velocity_to`).

    Attributes:
        coarse: context's cells → the small latent → the decoder's features on the grid of cells.
        fine: those → the decoder's features on the output grid.
        wide, across, narrow: the way past the trunk, from those over twice the output's resolution, where
            decoder and encoder meet in one convolution, back to the output grid.
        stem, head: into the trunk and out of it.
        writer: the sum of both → the latent, as in the encoder.
    """

    straight = True

    def __init__(self, config: BridgeNetConfig) -> None:
        super().__init__(config)
        channels, cell = config.latent_channels, CELL**2
        # In pixels: what is before and after both ways, the trunk, and the way past it (rounded up to cells).
        shared = CELL * (REACH + 2) + (REACH + 1) + (REACH + 1)
        trunk, past = CELL * (2 * config.depth + 2), SHORT_REACH + 2
        self.receptive_field = shared + max(trunk, past)
        layers = WORKING_LAYERS * WIDTH * (1 + cell)
        self.working_channels = WORKING_TENSORS * config.width // cell + layers
        decoder, encoder = list(TinyDecoder(channels)), list(TinyEncoder(channels))
        small = nn.Conv2d(channels * cell, channels, 3, padding=1)
        self.coarse = nn.Sequential(small, *decoder[COARSE])
        self.fine = nn.Sequential(*decoder[FINE])
        self.stem = nn.Conv2d(cell * (2 * channels + WIDTH), config.width, 3, padding=1)
        self.head = zeroed(nn.Conv2d(config.width, cell * WIDTH, 3, padding=1))
        self.wide = nn.Sequential(*decoder[WIDE])
        self.across = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.narrow = nn.Sequential(*encoder[NARROW])
        self.writer = nn.Sequential(*encoder[WRITER])

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        """See `VelocityNetwork`; H and W must be even, scale in [1, 2], and a context is needed."""
        context = self.needed(context)
        cells = self.cells(x, context)
        fine = self.read(cells)
        h = self.stem(torch.cat([cells, F.pixel_unshuffle(fine, CELL)], 1))
        h = self.head(self.through_blocks(h, t, sigma, scale))
        past = self.narrow(self.across(self.wide(fine)))
        endpoint = self.writer(F.pixel_shuffle(h, CELL) + past)
        return velocity_to(endpoint, x, context, t, sigma, DEVIATION).to(endpoint.dtype)

    def read(self, cells: Tensor) -> Tensor:
        """The decoder's features of the small latent, (B, 64, H, W), from `Trunk.cells`."""
        return self.fine(self.coarse(cells[:, cells.shape[1] // 2 :]))

    def in_bands(
        self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor, rows: int
    ) -> Tensor:
        """See `VelocityNetwork`; `rows` must be even."""
        context = self.needed(context)
        coarse, fine, writer = map(SequenceInBands, (self.coarse, self.fine, self.writer))
        past = SequenceInBands([*self.wide, self.across, *self.narrow])
        stem, head = map(ConvolutionInBands, (self.stem, self.head))
        blocks = self.blocks_in_bands(t, sigma, scale)
        to_cells, seen, meeting = CellsInBands(CELL), Delay(), Meeting()
        out, done = torch.empty_like(x), 0
        for start in range(0, x.shape[ROWS], rows):
            band, last = slice(start, start + rows), start + rows >= x.shape[ROWS]
            cells = self.cells(x[:, :, band], context[:, :, band])
            features = fine(coarse(cells[:, cells.shape[1] // 2 :], last), last)
            read = to_cells(features)
            h = stem(torch.cat([seen(cells, read.shape[ROWS]), read], 1), last)
            for block in blocks:
                h = block(h, last)
            h, beside = meeting(F.pixel_shuffle(head(pixel_norm(h), last), CELL), past(features, last))
            endpoint = writer(h + beside, last)
            ready = slice(done, done + endpoint.shape[ROWS])
            x_there, u_there = x[:, :, ready], context[:, :, ready]
            out[:, :, ready] = velocity_to(endpoint, x_there, u_there, t, sigma, DEVIATION)
            done = ready.stop
        return out
