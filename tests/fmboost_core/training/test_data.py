import json

import numpy as np
import pytest
import torch
from helpers import write_shards

from fmboost_core import InputError
from fmboost_core.safetensors_file import write_tensors
from fmboost_core.training import data as module
from fmboost_core.training.data import PairData
from fmboost_core.training.pairs import FORMAT, METADATA_KEY


def test_batches_are_pairs_of_the_same_crop(tmp_path):
    """Latents that are pictures of their own coordinates: low and high must show the same window."""
    pairs, rng = PairData(write_coordinates(tmp_path), "sd15"), np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        batch = pairs.batch(rng, 4, 16, double=0.5)
        low, high = batch.low, batch.high
        seen.add((low.shape[-1], high.shape[-1]))
        shrunk = torch.nn.functional.interpolate(high, size=low.shape[-2:], mode="area")
        torch.testing.assert_close(shrunk, low, atol=0.6, rtol=0)
    assert seen == {(8, 16), (48, 64), (32, 48), (32, 64)}


def write_coordinates(folder):
    """A crop of 64 latents that says where it is: rows in its first channel, columns in its second."""
    grid = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij"))
    high = torch.cat([grid, grid])[None]
    low, between = (torch.nn.functional.interpolate(high, size=s, mode="area") for s in (32, 48))
    tensors = {"z64": high.half(), "z32": low.half(), "z48": between.half()}
    facts = {METADATA_KEY: json.dumps({"format": FORMAT, "family": "sd15", "crop": 64})}
    write_tensors(folder / "0.safetensors", tensors, facts)
    return folder


def test_windows_lie_at_borders_of_their_crops_and_what_is_inside_their_cuts_is_told(tmp_path):
    pairs, rng = PairData(write_coordinates(tmp_path), "sd15"), np.random.default_rng(0)
    kinds = {}
    for _ in range(60):
        batch = pairs.batch(rng, 5, 16, double=1)
        for part, starts in zip(batch.inner, (batch.high[:, 0, 0, 0], batch.high[:, 1, 0, 0]), strict=True):
            kinds.setdefault((part.start, part.stop), []).append(starts)
    assert set(kinds) == {(0, 12), (4, 16), (4, 12)}
    assert not torch.cat(kinds[0, 12]).any()
    assert (torch.cat(kinds[4, 16]) == 48).all()
    assert len(torch.cat(kinds[4, 12]).unique()) > 12
    assert len(kinds[4, 12]) < 36 < min(len(kinds[0, 12]), len(kinds[4, 16]))  # of 120


def test_whole_crops_have_borders_all_round(tmp_path):
    pairs, rng = PairData(write_coordinates(tmp_path), "sd15"), np.random.default_rng(0)
    for window, double in ((16, 0), (64, 1)):
        for _ in range(8):
            batch = pairs.batch(rng, 4, window, double=double)
            assert batch.inner == (slice(0, batch.high.shape[-1]),) * 2


def test_every_crop_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "OPEN_FILES", 2)
    pairs = PairData(write_shards(tmp_path, shards=4), "sd15")
    assert len(pairs) == 12
    rng = np.random.default_rng(0)
    drawn = torch.cat([pairs.batch(rng, 8, 32, double=0.7).high.mean((1, 2, 3)) for _ in range(60)])
    whole = [high.mean() for _, high in pairs.first(12)]
    assert {f"{m:.4f}" for m in whole} <= {f"{m:.4f}" for m in drawn}


@pytest.mark.parametrize("seed", range(6))
def test_the_parts_of_a_batch_make_the_whole(tmp_path, seed):
    pairs = PairData(write_shards(tmp_path), "sd15")
    whole = pairs.batch(np.random.default_rng(seed), 5, 16, double=0.5)
    parts = [pairs.batch(np.random.default_rng(seed), 5, 16, double=0.5, part=k, parts=2) for k in range(2)]
    if whole.total < 2:  # a batch has a pair for each part at least
        assert [part.total for part in parts] == [2, 2]
        return
    assert sorted(parts[0].items + parts[1].items) == whole.items == list(range(whole.total))
    for part in parts:
        assert part.total == whole.total
        assert torch.equal(part.low, whole.low[part.items])
        assert torch.equal(part.high, whole.high[part.items])


def test_the_first_crops_are_always_the_same(tmp_path):
    pairs = PairData(write_shards(tmp_path), "sd15")
    shapes = [(low.shape, high.shape) for low, high in pairs.first(5)]
    assert shapes == [((1, 4, 16, 16), (1, 4, 32, 32))] * 5
    assert len(list(pairs.first(99))) == 6


def test_in_between_are_scales_under_two(tmp_path):
    pairs = PairData(write_shards(tmp_path), "sd15")
    sides = [(low.shape[-1], high.shape[-1]) for low, high in pairs.between(2)]
    assert sides == [(16, 20), (20, 32), (16, 24), (24, 32)]  # one crop of each shard


def test_folders_that_cannot_be_trained_on_are_named(tmp_path):
    with pytest.raises(InputError, match="holds no shards: run `fmboost encode`"):
        PairData(tmp_path, "sd15")
    write_shards(tmp_path / "a")
    with pytest.raises(InputError, match="holds pairs of family sd15, not flux"):
        PairData(tmp_path, "flux")
    write_shards(tmp_path / "b", crop=48)
    with pytest.raises(InputError, match="crops of 48 latents, others of 32"):
        PairData(tmp_path, "sd15")
    write_tensors(tmp_path / "a" / "a.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(InputError, match=r"a\.safetensors is not a shard"):
        PairData(tmp_path, "sd15")
