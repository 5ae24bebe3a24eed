import pytest
from helpers import random_latent, small_booster

from fmboost_core import Booster, memory_plan
from fmboost_core.memory_plan import LARGEST_TILE, affordable_tile, bytes_per_pixel
from fmboost_core.peak_memory import PeakMemory
from fmboost_core.tiling import SMALLEST_TILE


@pytest.fixture(scope="module")
def booster() -> Booster:
    return small_booster()


def test_memory_estimate_grows_with_the_picture_and_shrinks_with_tiles(booster):
    small, large = (booster.memory_needed((1, 4, s, s), (2 * s, 2 * s)) for s in (64, 512))
    assert small * 8 < large < small * 64  # beyond the largest tile only the solver's state grows
    assert booster.memory_needed((1, 4, 512, 512), (1024, 1024), tile=128) < large


@pytest.mark.parametrize(("size", "tile"), [((96, 80), 0), ((96, 80), 32), ((640, 64), 0), ((640, 64), 48)])
def test_a_boost_keeps_to_its_memory_estimate(booster, size, tile):
    samples = random_latent(1, 4, size[0] // 2, size[1] // 2)
    with PeakMemory() as memory:
        booster.boost(samples, size, detail=0.5, steps=3, tile=tile)
    assert memory.peak <= booster.memory_needed(samples.shape, size, tile=tile)


def test_the_tile_follows_the_free_memory(booster, monkeypatch):
    network = booster.network
    monkeypatch.setattr(memory_plan, "free_memory", lambda device: 1 << 40)
    assert affordable_tile(network, "cpu") == LARGEST_TILE
    monkeypatch.setattr(memory_plan, "free_memory", lambda device: 2 * 40**2 * bytes_per_pixel(network))
    assert affordable_tile(network, "cpu") == 40
    monkeypatch.setattr(memory_plan, "free_memory", lambda device: 0)
    assert affordable_tile(network, "cpu") == SMALLEST_TILE


def test_nothing_to_do_needs_no_stage(booster):
    assert booster.memory_needed((1, 4, 8, 8), (8, 8)) > 0
