"""BridgeNet: a trunk between the first stages of a tiny VAE's decoder and the last stage of its encoder.

To enlarge a picture by a VAE means to decode it, to enlarge the pixels, and to encode again; nearly all of
that work is done at the resolutions of the large pixels. BridgeNet takes the same way without going there:
the decoder's first three or four resolutions read the small latent on its own grids, the encoder's last two
or three write the large latent, and what lies between is a resampling of features. For all that this way
cannot do there is BoostNet's trunk beside it. It starts from the weights of a tiny VAE
(`training/warm_start.py`) and all of it is trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..flow import velocity_to
from ..tiny_vae import WIDTH, TinyDecoder, TinyEncoder
from ..upsampling import Size, resize_latent, size_of
from .bands import ROWS, CellsInBands, ConvolutionInBands, Meeting, SequenceInBands
from .resampling import Resampling, ResamplingInBands
from .trunk import CELL, WORKING_TENSORS, Trunk, TrunkConfig, pixel_norm
from .velocity import zeroed

DEVIATION = 0.5  # of large latents from upsampled small ones; measured: sd3 0.41, flux 0.52, sdxl 0.71
# Layers taken of the tiny decoder and encoder; where they meet, by how many of the decoder's resolutions.
# There a block of three is left out: a step teaches as much, and takes less time.
COARSE, FINE, WIDE = slice(0, 6), slice(6, 11), {3: slice(11, 15), 4: slice(11, 19)}
NARROW, WRITER = {3: slice(8, 11), 4: slice(4, 11)}, slice(11, 15)
REACH = 9  # pixels of a resolution that three blocks reach
PAST_REACH = {3: 8, 4: 15}  # latents that the way past the trunk reaches, at scale 2
WORKING_LAYERS = 5  # of the tiny VAE's width that are kept at once, in each of the finer resolutions


@dataclass(frozen=True)
class BridgeNetConfig(TrunkConfig):
    """Shape of a BridgeNet: see `TrunkConfig`.

    Attributes:
        resolutions: of the tiny decoder's that are gone through, 3 or 4; at the last it meets the encoder.
    """

    resolutions: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.resolutions, int) or self.resolutions not in WIDE:
            raise InputError(f"BridgeNet: resolutions is {self.resolutions!r}; it must be 3 or 4")

    @property
    def meeting(self) -> int:
        """Pixels of the grid on which decoder and encoder meet, to one latent along a side."""
        return 2 ** (self.resolutions - 2)


class BridgeNet(Trunk):
    """Predicts the path's endpoint, from which the velocity follows (`flow.velocity_to`).

    Attributes:
        coarse, fine: the small latent → the decoder's features on its grid → on a grid twice as fine.
        onto: those, on the output grid, for the trunk.
        stem, head: into the trunk and out of it.
        wide, across, narrow: the way past the trunk, from those to the decoder's last resolution, where it
            meets the encoder in a resampling (at three from four times the small latent's resolution to
            twice the output's, at four twice as fine), and back to the output grid.
        writer: the sum of both → the latent, as in the encoder.
    """

    size_multiple = 1
    upsamples = "bicubic"
    straight = True

    def __init__(self, config: BridgeNetConfig) -> None:
        super().__init__(config)
        channels, cell = config.latent_channels, CELL**2
        # In pixels: what is before and after both ways, the trunk, and the way past it (rounded up to cells).
        shared = CELL * (REACH + 1) + (REACH + 1) + (REACH + 1)
        trunk, past = CELL * (2 * config.depth + 2), PAST_REACH[config.resolutions]
        self.receptive_field = shared + max(trunk, past)
        layers = WORKING_LAYERS * WIDTH * sum(4**k for k in range(config.resolutions - 1))
        self.working_channels = WORKING_TENSORS * config.width // cell + layers
        decoder, encoder = list(TinyDecoder(channels)), list(TinyEncoder(channels))
        self.coarse = nn.Sequential(*decoder[COARSE])
        self.fine = nn.Sequential(*decoder[FINE])
        self.onto = Resampling(WIDTH)
        self.stem = nn.Conv2d(cell * (2 * channels + WIDTH), config.width, 3, padding=1)
        self.head = zeroed(nn.Conv2d(config.width, cell * WIDTH, 3, padding=1))
        self.wide = nn.Sequential(*decoder[WIDE[config.resolutions]])
        self.across = Resampling(WIDTH, nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
        self.narrow = nn.Sequential(*encoder[NARROW[config.resolutions]])
        self.writer = nn.Sequential(*encoder[WRITER])

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        """See `VelocityNetwork`; scale in [1, 2], and a context is needed."""
        small, size = self.needed(context), size_of(x)
        u = resize_latent(small, size, self.upsamples)
        fine = self.fine(self.coarse(small))
        read = self.onto(fine, size, _whole_cells(size))
        h = torch.cat([self.cells(_grow(x), _grow(u)), F.pixel_unshuffle(read, CELL)], 1)
        h = self.head(self.through_blocks(self.stem(h), t, sigma, scale))
        beside = F.pixel_shuffle(h, CELL)[:, :, : size[0], : size[1]]
        past = self.narrow(self.across(self.wide(fine), _times(self.config.meeting, size)))
        endpoint = self.writer(beside + past)
        return velocity_to(endpoint, x, u, t, sigma, DEVIATION).to(endpoint.dtype)

    def working_area(self, size: Size, context: Size) -> int:
        """See `VelocityNetwork`: below scale 2 most is done on the small latent's own grids."""
        return max(math.prod(size), math.prod(_times(2, context)))

    def in_bands(
        self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor, rows: int
    ) -> Tensor:
        """See `VelocityNetwork`."""
        small, size = self.needed(context), size_of(x)
        source = size_of(small)
        u = resize_latent(small, size, self.upsamples)
        reader = SequenceInBands([*self.coarse, *self.fine])
        wide, narrow, writer = map(SequenceInBands, (self.wide, self.narrow, self.writer))
        onto = ResamplingInBands(self.onto, _times(2, source), size, _whole_cells(size))
        per_latent = self.config.meeting
        meeting = _times(per_latent, size)
        across = ResamplingInBands(self.across, _times(2 * per_latent, source), meeting, meeting)
        stem, head = map(ConvolutionInBands, (self.stem, self.head))
        blocks = self.blocks_in_bands(t, sigma, scale)
        to_cells, before_stem, before_writer = CellsInBands(CELL), Meeting(), Meeting()
        out, taken, done = torch.empty_like(x), 0, 0
        rows += rows % CELL
        for start in range(0, size[0], rows):
            band, last = slice(start, start + rows), start + rows >= size[0]
            # As far as the band goes, on the small latent's grid.
            new = slice(taken, source[0] if last else math.ceil((start + rows) * source[0] / size[0]))
            taken = new.stop
            fine = reader(small[:, :, new], last)
            cells = self.cells(_grow(x[:, :, band]), _grow(u[:, :, band]))
            h = stem(torch.cat(before_stem(cells, to_cells(onto(fine, last))), 1), last)
            for block in blocks:
                h = block(h, last)
            beside = F.pixel_shuffle(head(pixel_norm(h), last), CELL)[..., : size[1]]
            beside, past = before_writer(beside, narrow(across(wide(fine, last), last), last))
            endpoint = writer(beside + past, last)
            ready = slice(done, done + endpoint.shape[ROWS])
            x_there, u_there = x[:, :, ready], u[:, :, ready]
            out[:, :, ready] = velocity_to(endpoint, x_there, u_there, t, sigma, DEVIATION)
            done = ready.stop
        return out


def _times(factor: int, size: Size) -> Size:
    return factor * size[0], factor * size[1]


def _whole_cells(size: Size) -> Size:
    return size[0] + size[0] % CELL, size[1] + size[1] % CELL


def _grow(z: Tensor) -> Tensor:
    """Repeat the last row and column where a cell is not full."""
    bottom, right = (side % CELL for side in z.shape[-2:])
    return F.pad(z, (0, right, 0, bottom), mode="replicate") if bottom or right else z
