"""Evaluate a network on a large latent part by part, so that memory does not grow with the picture.

The parts are cut at every network evaluation, not around the whole integration: the solver's state stays
whole (it is small). A network that streams (BoostNet) takes a picture in bands, with the very numbers of the
whole and no work done twice. One that cannot (the paper's U-Net) is given tiles that overlap and are
blended, which is close but not the same.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import FMBoostError
from .networks.velocity import VelocityNetwork
from .upsampling import size_of

log = logging.getLogger(__name__)

SMALLEST_TILE = 16  # latent pixels
BLEND_HALO = 16  # latent pixels of overlap on each side of a blended tile


class OutOfMemory(FMBoostError, MemoryError):
    """Not even the smallest tile fits into memory."""


class TiledNetwork:
    """A network that can be called at any size, whole or by parts, and survives lack of memory.

    Args:
        network: has `size_multiple`, and `in_bands` where `streams` is true.
        tile: side of a square in latent pixels, as many as are worked on at once; 0 for all of them.
            When memory runs out it is halved, the evaluation repeated, and the smaller one kept.
        forward: what evaluates whole pictures and tiles in the network's place (compiled, say).
    """

    def __init__(
        self, network: VelocityNetwork, tile: int = 0, forward: Callable[..., Tensor] | None = None
    ) -> None:
        self.network = network
        self.tile = tile
        self.forward = forward or network

    def __call__(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        """Velocity at x, shape (B, C, H, W), any H and W; the arguments are those of the network."""
        height, width = x.shape[-2:]
        x, context = self._pad(x), None if context is None else self._pad(context)
        while True:
            try:
                return self._evaluate(x, t, context, sigma, scale)[..., :height, :width]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self.tile = self._smaller_tile(x, context)
            # Outside the handler: its traceback no longer holds the tensors of the failed attempt.
            log.warning("out of memory: going on with tiles of %d latent pixels", self.tile)
            _free_memory()

    def _pad(self, x: Tensor) -> Tensor:
        multiple = self.network.size_multiple
        bottom, right = (-side % multiple for side in x.shape[-2:])
        return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x

    def _evaluate(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        at_once = self.tile**2 // self._area(x, context)  # whole pictures
        if not self.tile or at_once >= len(x):
            return self.forward(x, t, context, sigma, scale)
        evaluate = self.forward if at_once else self._in_bands if self.network.streams else self._blended
        step = max(1, at_once)
        parts = []
        for start in range(0, len(x), step):
            items = slice(start, start + step)
            cut = None if context is None else context[items]
            parts.append(evaluate(x[items], t[items], cut, sigma[items], scale[items]))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _area(self, x: Tensor, context: Tensor | None) -> int:
        return self.network.working_area(size_of(x), size_of(x if context is None else context))

    def _in_bands(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        rows = max(1, self.tile**2 * x.shape[-2] // self._area(x, context))
        rows = _round_up(rows, self.network.size_multiple)
        return self.network.in_bands(x, t, context, sigma, scale, rows)

    def _blended(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        tile, halo = (_round_up(side, self.network.size_multiple) for side in (self.tile, BLEND_HALO))
        out, weight = torch.zeros_like(x), x.new_zeros(height, width)
        for rows in _spans(height, tile, halo):
            for columns in _spans(width, tile, halo):
                window = (..., rows, columns)
                v = self.forward(x[window], t, None if context is None else context[window], sigma, scale)
                ramp = _rise(rows, halo, height)[:, None] * _rise(columns, halo, width)
                out[window] += v * ramp.to(v)
                weight[rows, columns] += ramp.to(v)
        return out / weight

    def _smaller_tile(self, x: Tensor, context: Tensor | None) -> int:
        everything = math.ceil(math.sqrt(len(x) * self._area(x, context)))
        half = min(self.tile or everything, everything) // 2
        if half < SMALLEST_TILE:
            raise OutOfMemory(
                f"out of memory even with tiles of {SMALLEST_TILE} latent pixels: close other programs,"
                " or boost to a smaller size"
            )
        return half


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _spans(length: int, tile: int, halo: int) -> list[slice]:
    """Tiles along one side, each grown by the halo where the picture goes on."""
    return [slice(max(0, start - halo), min(start + tile + halo, length)) for start in range(0, length, tile)]


def _rise(span: slice, halo: int, length: int) -> Tensor:
    """Weights of a tile along one side: rising over two halos from an inner edge, 1 at the image's."""
    position = torch.arange(span.stop - span.start, dtype=torch.float32) + 0.5
    rise = torch.ones_like(position)
    if span.start > 0:
        rise = torch.minimum(rise, position / (2 * halo))
    if span.stop < length:
        rise = torch.minimum(rise, position.flip(0) / (2 * halo))
    return rise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether any backend's exception means that memory ran out (CUDA, ROCm, MPS, XPU, CPU)."""
    if isinstance(error, OutOfMemory):
        return False
    # Every accelerator of torch raises the class that is named after CUDA.
    kinds = (torch.cuda.OutOfMemoryError, MemoryError)
    text = str(error).lower()
    return isinstance(error, kinds) or "out of memory" in text or "can't allocate memory" in text


def _free_memory() -> None:
    gc.collect()
    for backend in (torch.cuda, torch.mps, torch.xpu):
        # Some builds of torch have a backend's module without the backend.
        if getattr(backend, "is_available", lambda: False)():
            backend.empty_cache()
