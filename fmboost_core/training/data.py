"""Shards of latent pairs, and batches out of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import InputError
from ..safetensors_file import open_safetensors
from .pairs import read_description

OPEN_FILES = 256
WINDOWS_AT_BORDER = 0.8  # probability, in each direction, that windows lie at a border of their crops
CUT_MARGIN = 4  # latents at a side that was cut, which show what the VAE saw beyond


class _Shard:
    """One file: sides from large to small, and how many crops it holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_safetensors(path) as file:
            facts = read_description(path, file)
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
        self.family = str(facts.get("family"))
        self.crop: int = crop if isinstance(crop := facts.get("crop"), int) else 0
        whole = shapes.get(f"z{self.crop}", ())
        self.sides = sorted({shape[-1] for shape in shapes.values() if shape}, reverse=True)
        self.count: int = whole[0] if len(whole) == 4 else 0
        self.channels: int = whole[1] if self.count else 0
        expected = {f"z{side}": (self.count, self.channels, side, side) for side in self.sides}
        if not self.count or shapes != expected or self.crop // 2 not in self.sides:
            raise InputError(f"{path} is damaged: delete it, and run `fmboost encode` again")


@dataclass(frozen=True)
class Batch:
    """Pairs of one scale, or a part of them.

    Attributes:
        low, high: latents (N, C, h, h) and (N, C, H, H), fp32.
        inner: rows and columns of `high` without a margin at sides where it was cut out of its crop.
        items: the pairs' numbers within the whole batch.
        total: how many pairs the whole batch has.
    """

    low: Tensor
    high: Tensor
    inner: tuple[slice, slice]
    items: list[int]
    total: int


@dataclass(frozen=True)
class _View:
    """A square of a crop as it was encoded at a side."""

    side: int
    top: int
    left: int
    size: int


@dataclass(frozen=True)
class _Cut:
    """The low and the high view of one crop."""

    shard: int
    row: int
    views: tuple[_View, _View]


class PairData:
    """Shards in a folder, read as needed: a data set may be larger than memory.

    Args:
        folder: where the shards are; subfolders count.
        family: what they must be of.

    Raises:
        InputError: no shards, shards of another family, of mixed sizes, or other files among them.
    """

    def __init__(self, folder: str | Path, family: str) -> None:
        folder = Path(folder)
        self.shards = [_Shard(path) for path in sorted(folder.rglob("*.safetensors"))]
        if not self.shards:
            raise InputError(f"{folder} holds no shards: run `fmboost encode` first")
        for shard in self.shards:
            if shard.family != family:
                raise InputError(f"{shard.path} holds pairs of family {shard.family}, not {family}")
            if shard.crop != self.shards[0].crop:
                raise InputError(
                    f"{shard.path} holds crops of {shard.crop} latents, others of {self.shards[0].crop}:"
                    " keep them in different folders"
                )
        self.crop, self.channels = self.shards[0].crop, self.shards[0].channels
        sizes = np.array([shard.count for shard in self.shards])
        self._ends = sizes.cumsum()
        self._files: dict[int, safe_open] = {}
        self._closing = ExitStack()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def check_sizes(self, window: int, double: float, multiple: int) -> None:
        """See that a network whose sizes are multiples of a number can take what `batch` would give.

        Raises:
            InputError: it cannot, or the window is larger than the crops.
        """
        if window > self.crop:
            raise InputError(f"window is {window}, but the pairs are crops of {self.crop} latents")
        sides = {window}
        if double < 1:
            sides |= {side for shard in self.shards for side in shard.sides if side > self.crop // 2}
        odd = sorted(side for side in sides if side % multiple)
        if odd:
            raise InputError(
                f"the network takes latents whose sides are multiples of {multiple}, but {odd[0]} is among"
                " the sizes: choose another window, or double = 1"
            )

    def batch(
        self, rng: np.random.Generator, count: int, window: int, *, double: float, part: int = 0,
        parts: int = 1,
    ) -> Batch:  # fmt: skip
        """Pairs of one scale, or every `parts`-th of them.

        Args:
            rng: decides all; the same state gives every part of the same batch.
            count: of pairs at scale 2; at other scales, where crops are used whole, as many as take
                about the same time, and at least `parts`.
            window: latent side of the large part of a pair at scale 2.
            double: probability that the scale is 2.
            part, parts: which of them to read; a process need not read what others train on.
        """
        if rng.random() < double:
            plan, inner = self._plan_windows(rng, count, window)
        else:
            plan = self._plan_whole(rng, max(parts, round(count * (window / self.crop) ** 2)))
            inner = (slice(0, plan[0].views[1].size),) * 2
        mine = range(part, len(plan), parts)
        low, high = (
            torch.stack([self._read(plan[k].shard, plan[k].row, plan[k].views[end]) for k in mine]).float()
            for end in (0, 1)
        )
        return Batch(low, high, inner, list(mine), len(plan))

    def _plan_windows(
        self, rng: np.random.Generator, count: int, window: int
    ) -> tuple[list[_Cut], tuple[slice, slice]]:
        """Windows at the same border of their crops, or anywhere; and their inner rows and columns.

        A VAE encodes the border of a picture otherwise than the same place amid one, so that it has to be
        learnt at borders; and what lies just inside a cut cannot be known.
        """
        half, room, plan = window // 2, (self.crop - window) // 2, []
        at_one = WINDOWS_AT_BORDER / 2
        place = rng.choice(3, 2, p=[at_one, 1 - 2 * at_one, at_one])  # first, anywhere, last
        lowest, highest = np.where(place == 2, room, 0), np.where(place == 0, 0, room)
        margin = min(CUT_MARGIN, window // 4)
        rows, columns = (
            slice(margin if high else 0, window - margin if low < room else window)
            for low, high in zip(lowest, highest, strict=True)
        )
        for index in rng.integers(0, len(self), count):
            top, left = (int(v) for v in rng.integers(lowest, highest + 1))
            low = _View(self.crop // 2, top, left, half)
            plan.append(_Cut(*self._find(int(index)), (low, _View(self.crop, 2 * top, 2 * left, window))))
        return plan, (rows, columns)

    def _plan_whole(self, rng: np.random.Generator, count: int) -> list[_Cut]:
        """Crops of one shard, for all of a batch must have the same sizes."""
        index, _ = self._find(int(rng.integers(0, len(self))))
        sides = self.shards[index].sides
        scales = [(low, high) for high in sides for low in sides if high / 2 <= low < high]
        low, high = (_View(side, 0, 0, side) for side in scales[rng.integers(0, len(scales))])
        return [
            _Cut(index, int(row), (low, high)) for row in rng.integers(0, self.shards[index].count, count)
        ]

    def _find(self, index: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, index - int(self._ends[shard] - self.shards[shard].count)

    def _read(self, shard: int, row: int, view: _View) -> Tensor:
        tensor = self._file(shard).get_slice(f"z{view.side}")
        rows, columns = (slice(start, start + view.size) for start in (view.top, view.left))
        return tensor[row, :, rows, columns]

    def _file(self, shard: int) -> safe_open:
        if shard not in self._files:
            if len(self._files) >= OPEN_FILES:
                self._closing.close()
                self._files.clear()
            self._files[shard] = self._closing.enter_context(open_safetensors(self.shards[shard].path))
        return self._files[shard]

    def first(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first crops, whole, at scale 2, for fixed samples and statistics."""
        for index in range(min(count, len(self))):
            shard, row = self._find(index)
            views = (_View(side, 0, 0, side) for side in (self.crop // 2, self.crop))
            low, high = (self._read(shard, row, view)[None].float() for view in views)
            yield low, high

    def between(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Crops from all over the data, whole, from the half to a side in between, and from there to all."""
        for index in np.linspace(0, len(self) - 1, min(count, len(self)), dtype=int):
            shard, row = self._find(int(index))
            sides = self.shards[shard].sides[::-1]
            whole = {side: self._read(shard, row, _View(side, 0, 0, side))[None].float() for side in sides}
            for low, high in itertools.pairwise(sides):
                if high < 2 * low:
                    yield whole[low], whole[high]
