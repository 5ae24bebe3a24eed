"""How much memory a boost takes, and how much of a picture to work on at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .free_memory import free_memory
from .networks.velocity import VelocityNetwork
from .tiling import BLEND_HALO, SMALLEST_TILE
from .upsampling import Size

STATE_COPIES = 8  # fp32 tensors of the result's size that a solver keeps
LARGEST_TILE = 176  # latent pixels; more at once is hardly faster, and takes more memory
MEMORY_SHARE = 0.5  # of the free memory, for one evaluation


def bytes_per_pixel(network: VelocityNetwork) -> int:
    """What one evaluation works in, for each latent pixel of `working_area`."""
    return network.working_channels * next(network.parameters()).element_size()


def memory_needed(
    network: VelocityNetwork, shape: Sequence[int], source: Size, size: Size, tile: int = 0
) -> int:
    """Bytes that a boost works in beside the weights, an estimate from above.

    Args:
        network: in the precision that it runs at.
        shape: of the samples, (B, C, h, w) or (B, C, T, h, w).
        source: height and width that the last stage starts from, in latent pixels.
        size: height and width of the result.
        tile: as `Booster.boost`.
    """
    planes = math.prod(shape) // (shape[1] * shape[-2] * shape[-1])  # items times frames
    area = network.working_area(size, source)
    if network.streams:
        tile = tile or LARGEST_TILE
    elif tile:
        tile += 2 * BLEND_HALO
    at_once = min(planes * area, tile**2) if tile else planes * area
    if network.streams and at_once < planes * area:
        at_once += area // size[0] * (network.receptive_field or 0)  # kept back, and let go at the end
    state = planes * shape[1] * math.prod(size) * 4 * STATE_COPIES
    return at_once * bytes_per_pixel(network) + state


def affordable_tile(network: VelocityNetwork, device: torch.device | str) -> int:
    """The tile that is used where none is asked for: as large as fits, but no larger than is any faster.

    A network that cannot stream gets the whole picture where it fits, as its tiles change the result.
    """
    largest = LARGEST_TILE if network.streams else 0
    free = free_memory(device)
    if free is None:
        return largest
    fits = max(SMALLEST_TILE, math.isqrt(round(MEMORY_SHARE * free / bytes_per_pixel(network))))
    return min(largest or fits, fits)
