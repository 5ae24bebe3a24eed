"""Shards of latent pairs, and batches out of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import InputError
from ..safetensors_file import open_safetensors
from .pairs import FORMAT, METADATA_KEY

DOUBLE_SHARE = 0.7  # of the batches are at scale 2, where most people will use the model
OPEN_FILES = 256


class _Shard:
    """One file: sides from large to small, and how many crops it holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_safetensors(path) as file:
            metadata = file.metadata() or {}
            if METADATA_KEY not in metadata:
                raise InputError(f"{path} is not a shard of `fmboost encode`: take it out of the folder")
            facts = json.loads(metadata[METADATA_KEY])
            if facts.get("format") != FORMAT:
                raise InputError(
                    f"{path} has format {facts.get('format')}, this FMBoost reads {FORMAT}: encode again"
                )
            self.family, self.crop = facts["family"], facts["crop"]
            self.sides = sorted((int(key[1:]) for key in file.keys()), reverse=True)
            self.count, self.channels = file.get_slice(f"z{self.crop}").get_shape()[:2]


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

    def batch(self, rng: np.random.Generator, count: int, window: int) -> tuple[Tensor, Tensor]:
        """Pairs of one scale.

        Args:
            rng: decides all.
            count: of pairs at scale 2; at other scales, where crops are used whole, as many as take
                about the same time.
            window: latent side of the large part of a pair at scale 2.

        Returns:
            Low- and high-resolution latents (N, C, h, w) and (N, C, H, W), fp32.
        """
        if rng.random() < DOUBLE_SHARE:
            return self._windows(rng, count, window)
        return self._whole(rng, max(1, round(count * (window / self.crop) ** 2)))

    def _windows(self, rng: np.random.Generator, count: int, window: int) -> tuple[Tensor, Tensor]:
        half = window // 2
        low, high = [], []
        for index in rng.integers(0, len(self), count):
            shard, row = self._find(int(index))
            top, left = (int(v) for v in rng.integers(0, (self.crop - window) // 2 + 1, 2))
            low.append(self._read(shard, self.crop // 2, row, top, left, half))
            high.append(self._read(shard, self.crop, row, 2 * top, 2 * left, window))
        return torch.stack(low).float(), torch.stack(high).float()

    def _whole(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Crops of one shard, for all of a batch must have the same sizes."""
        index, _ = self._find(int(rng.integers(0, len(self))))
        sides = self.shards[index].sides
        pairs = [(low, high) for high in sides for low in sides if high / 2 <= low < high]
        low, high = pairs[rng.integers(0, len(pairs))]
        rows = [int(row) for row in rng.integers(0, self.shards[index].count, count)]
        small, large = (torch.stack([self._read(index, s, r, 0, 0, s) for r in rows]) for s in (low, high))
        return small.float(), large.float()

    def _find(self, index: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, index - int(self._ends[shard] - self.shards[shard].count)

    def _read(self, shard: int, side: int, row: int, top: int, left: int, size: int) -> Tensor:
        tensor = self._file(shard).get_slice(f"z{side}")
        return tensor[row, :, top : top + size, left : left + size]

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
            half = self.crop // 2
            low, high = (self._read(shard, s, row, 0, 0, s)[None].float() for s in (half, self.crop))
            yield low, high
