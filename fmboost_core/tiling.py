"""Evaluate a network on a large latent by tiles, so that memory does not grow with the picture.

Tiles are cut at every network evaluation, not around the whole integration: the solver's state stays
whole (it is small), and a tile needs the halo of one evaluation only. For a network with a finite
receptive field the result equals that of the whole image. For one without (the paper's U-Net) tiles
can only be blended, and the docs say so.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import FMBoostError
from .networks.velocity import VelocityNetwork

log = logging.getLogger(__name__)

SMALLEST_TILE = 16  # latent pixels; below it a tile is nearly all halo
BLEND_HALO = 16  # latent pixels of overlap where no receptive field is known


class OutOfMemory(FMBoostError, MemoryError):
    """Not even the smallest tile fits into memory."""


class TiledNetwork:
    """A network that can be called at any size, whole or by tiles, and survives lack of memory.

    Args:
        network: has `size_multiple` and `receptive_field` (None: unbounded).
        tile: side of a tile in latent pixels, 0 for the whole image. When memory runs out the tile
            is halved, the evaluation repeated, and the smaller tile kept.
    """

    def __init__(self, network: VelocityNetwork, tile: int = 0) -> None:
        self.network = network
        self.tile = tile
        halo = network.receptive_field
        self.exact = halo is not None
        self.halo = _round_up(BLEND_HALO if halo is None else halo, network.size_multiple)

    def __call__(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        """Velocity at x, shape (B, C, H, W), any H and W; the arguments are those of the network."""
        height, width = x.shape[-2:]
        x, context = self._pad(x), None if context is None else self._pad(context)

        def evaluate(rows: slice, columns: slice) -> Tensor:
            window = (..., rows, columns)
            cut = None if context is None else context[window]
            return self.network(x[window], t, cut, sigma, scale)

        while True:
            try:
                return self._evaluate(evaluate, x)[..., :height, :width]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self.tile = self._smaller_tile(x.shape[-2:])
            # Outside the handler: its traceback no longer holds the tensors of the failed attempt.
            log.warning("out of memory: going on with tiles of %d latent pixels", self.tile)
            _free_memory()

    def _pad(self, x: Tensor) -> Tensor:
        multiple = self.network.size_multiple
        bottom, right = (-side % multiple for side in x.shape[-2:])
        return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x

    def _evaluate(self, evaluate: Callable[[slice, slice], Tensor], x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        tile = _round_up(self.tile, self.network.size_multiple)
        if not tile or (tile >= height and tile >= width):
            return evaluate(slice(0, height), slice(0, width))
        out = torch.zeros_like(x)
        weight = x.new_zeros(height, width)
        for rows in _spans(height, tile):
            for columns in _spans(width, tile):
                outer_rows = _grown(rows, self.halo, height)
                outer_columns = _grown(columns, self.halo, width)
                v = evaluate(outer_rows, outer_columns)
                if self.exact:
                    core = v[..., _within(rows, outer_rows), _within(columns, outer_columns)]
                    out[..., rows, columns] = core
                else:
                    ramp = _rise(outer_rows, self.halo, height)[:, None] * _rise(
                        outer_columns, self.halo, width
                    )
                    out[..., outer_rows, outer_columns] += v * ramp.to(v)
                    weight[outer_rows, outer_columns] += ramp.to(v)
        return out if self.exact else out / weight

    def _smaller_tile(self, size: torch.Size) -> int:
        half = min(self.tile or max(size), max(size)) // 2
        if half < SMALLEST_TILE:
            raise OutOfMemory(
                f"out of memory even with tiles of {SMALLEST_TILE} latent pixels: close other programs,"
                " or boost to a smaller size"
            )
        return half


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _spans(length: int, tile: int) -> list[slice]:
    return [slice(start, min(start + tile, length)) for start in range(0, length, tile)]


def _grown(span: slice, halo: int, length: int) -> slice:
    return slice(max(0, span.start - halo), min(length, span.stop + halo))


def _within(span: slice, outer: slice) -> slice:
    return slice(span.start - outer.start, span.stop - outer.start)


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
