import logging

import pytest
import torch
from helpers import lively, small_booster

from fmboost_core.networks.boostnet import BoostNet, BoostNetConfig
from fmboost_core.networks.unet import UNet, UNetConfig
from fmboost_core.networks.velocity import VelocityNetwork
from fmboost_core.peak_memory import PeakMemory
from fmboost_core.tiling import SMALLEST_TILE, OutOfMemory, TiledNetwork, _rise, is_out_of_memory


@pytest.fixture(scope="module")
def boostnet() -> BoostNet:
    return lively(BoostNet(BoostNetConfig(4, width=64, depth=2)))


def arguments(height: int, width: int, items: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    x, context = torch.randn(2, items, 4, height, width, generator=generator)
    t, sigma, scale = torch.full((items,), 0.3), torch.full((items,), 0.2), torch.full((items,), 1.7)
    return x, t, context, sigma, scale


@pytest.mark.parametrize("size", [(70, 53), (64, 64), (33, 90)])
@pytest.mark.parametrize("tile", [16, 22, 31])
def test_tiles_give_the_numbers_of_the_whole(boostnet, size, tile):
    whole = TiledNetwork(boostnet)(*arguments(*size))
    tiled = TiledNetwork(boostnet, tile)(*arguments(*size))
    assert whole.shape[-2:] == size
    torch.testing.assert_close(tiled, whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("tile", [16, 53, 90])
def test_a_batch_is_worked_off_item_by_item_before_it_is_cut(boostnet, tile):
    batch = arguments(40, 60, items=3)
    torch.testing.assert_close(TiledNetwork(boostnet, tile)(*batch), boostnet(*batch), atol=1e-4, rtol=0)


def test_memory_follows_the_tile_and_not_the_picture(boostnet):
    def peak(height: int, tile: int) -> int:
        x, *rest = arguments(height, 64)
        with torch.inference_mode(), PeakMemory() as memory:
            TiledNetwork(boostnet, tile)(x, *rest)
        return memory.peak - x.nbytes  # the result itself grows

    assert peak(512, 64) < 1.1 * peak(128, 64) < 1.8 * peak(64, 0)
    assert peak(512, 0) > 3.5 * peak(128, 0)


@pytest.mark.parametrize("factor", [1.5, 2, 4])
def test_tiled_boost_equals_whole_boost(factor):
    booster = small_booster()
    samples = torch.randn(1, 4, 37, 29, generator=torch.Generator().manual_seed(0))
    size = (round(37 * factor), round(29 * factor))
    whole, tiled = (booster.boost(samples, size, detail=0.7, steps=2, seeds=5, tile=tile) for tile in (0, 26))
    torch.testing.assert_close(tiled, whole, atol=1e-4, rtol=0)


def test_a_global_network_is_blended_without_gaps():
    config = UNetConfig(4, model_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_factors=())
    tiled = TiledNetwork(lively(UNet(config)), 24)(*arguments(70, 53))
    assert tiled.shape[-2:] == (70, 53)
    assert torch.isfinite(tiled).all()
    assert not tiled.abs().sum(1).eq(0).any()


class _Scarce(VelocityNetwork):
    """A network in a machine that runs out of memory above a number of pixels."""

    size_multiple, streams = 2, True

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, x, t, context, sigma, scale):
        if x.shape[-1] * x.shape[-2] > self.pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return 2 * x

    def in_bands(self, x, t, context, sigma, scale, rows):
        bands = [self(band, t, None, sigma, scale) for band in x.split(rows, dim=2)]
        return torch.cat(bands, 2)


def test_out_of_memory_halves_the_tile_and_goes_on(caplog):
    tiled = TiledNetwork(_Scarce(40 * 40))
    x, *rest = arguments(100, 100)
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(tiled(x, *rest), 2 * x)
    assert tiled.tile == 25
    assert [r.getMessage() for r in caplog.records] == [
        "out of memory: going on with tiles of 50 latent pixels",
        "out of memory: going on with tiles of 25 latent pixels",
    ]


def test_hopeless_memory_is_one_clear_line():
    with pytest.raises(OutOfMemory, match=f"even with tiles of {SMALLEST_TILE} latent pixels"):
        TiledNetwork(_Scarce(1))(*arguments(100, 100))


def test_other_errors_are_not_taken_for_lack_of_memory():
    class Broken(_Scarce):
        def forward(self, *_):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        TiledNetwork(Broken(1))(*arguments(40, 40))


def test_backends_say_it_differently():
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"))
    assert is_out_of_memory(
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
    )
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("no kernel image"))


class Pointwise(VelocityNetwork):
    """Sees no neighbours, so that tiles of any kind must give the numbers of the whole."""

    size_multiple, streams = 2, False

    def forward(self, x, t, context, sigma, scale):
        number = (t + 3 * sigma + 5 * scale).reshape(-1, 1, 1, 1)
        return 2 * x + number + (0 if context is None else context.square())


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("tile", [16, 24])
@pytest.mark.parametrize("size", [(50, 90), (96, 40)])
def test_blended_tiles_of_a_pointwise_network_are_the_whole(size, tile, context):
    x, other = torch.randn(2, 2, 4, *size, generator=torch.Generator().manual_seed(0)).unbind()
    conditions = (
        torch.tensor([0.1, 0.2]),
        other if context else None,
        torch.tensor([0.3, 0.4]),
        torch.ones(2),
    )
    parts = TiledNetwork(Pointwise(), tile)(x, *conditions)
    torch.testing.assert_close(parts, Pointwise()(x, *conditions))


def test_a_tile_rises_over_two_halos_from_an_inner_edge():
    ramp = torch.tensor([0.5, 1.5, 2.5, 3.5]) / 4
    ones = torch.ones(6)
    assert torch.equal(_rise(slice(0, 10), 2, 30), torch.cat([ones, ramp.flip(0)]))
    assert torch.equal(_rise(slice(20, 30), 2, 30), torch.cat([ramp, ones]))
    assert torch.equal(_rise(slice(10, 20), 2, 30), torch.cat([ramp, ones[:2], ramp.flip(0)]))
    assert torch.equal(_rise(slice(0, 6), 2, 6), ones)
