from pathlib import Path

import pytest
import torch
from helpers import lively, write_shards

from fmboost_core import InputError
from fmboost_core.safetensors_file import write_tensors
from fmboost_core.tiny_vae import TinyDecoder, TinyEncoder
from fmboost_core.training.config import TrainConfig
from fmboost_core.training.data import PairData
from fmboost_core.training.trainer import Trainer
from fmboost_core.training.warm_start import start_from_vae
from fmboost_core.upsampling import LATENT_MODES, resize_latent

SHAPE = {"width": 64, "depth": 1}


@pytest.fixture(scope="module")
def vae() -> tuple[TinyEncoder, TinyDecoder]:
    return lively(TinyEncoder(4)), lively(TinyDecoder(4))


@pytest.fixture
def pairs(tmp_path) -> PairData:
    return PairData(write_shards(tmp_path / "pairs"), "sd15")


@pytest.mark.parametrize("mode", LATENT_MODES)
def test_the_small_latent_is_found_in_the_upsampled_one(vae, pairs, mode):
    network = start_from_vae(SHAPE, *vae, pairs, mode)
    small = torch.randn(1, 4, 10, 12)
    u = resize_latent(small, (20, 24), mode)
    found = network.coarse[0](network.cells(u, u)[:, 16:])
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(found[inner], small[inner], atol=0.02, rtol=0)


def test_it_reads_and_writes_as_the_vae_does(vae, pairs):
    encoder, decoder = vae
    network = start_from_vae(SHAPE, encoder, decoder, pairs, "bicubic")
    small = torch.randn(1, 4, 8, 8)
    u = resize_latent(small, (16, 16), "bicubic")
    inner = (..., slice(4, -4), slice(4, -4))
    wanted = torch.nn.Sequential(*list(decoder)[:15])(small)
    seen = network.wide(network.read(network.cells(u, u)))
    assert (seen - wanted)[inner].square().mean() < 0.02 * wanted[inner].var()
    pixels = torch.rand(1, 3, 64, 64)
    features = torch.nn.Sequential(*list(encoder)[:8])(pixels)
    torch.testing.assert_close(network.writer(network.narrow(features)), encoder(pixels))


def test_the_fit_is_better_than_its_constant(vae, tmp_path):
    """On pairs that belong together, what crosses explains what the encoder sees in the large latent."""
    encoder, decoder = vae
    large = resize_latent(torch.randn(6, 4, 8, 8), (32, 32), "bicubic")
    tensors = {"z32": large.half(), "z16": torch.nn.functional.avg_pool2d(large, 2).half()}
    pairs = PairData(_like(write_shards(tmp_path / "pairs", shards=1), tensors), "sd15")
    network = start_from_vae(SHAPE, encoder, decoder, pairs, "bicubic")
    low, high = next(pairs.first(1))
    u = resize_latent(low, (32, 32), "bicubic")
    seen = torch.nn.Sequential(*list(encoder)[:8])(decoder(high).clamp(0, 1))
    error = network.across(network.wide(network.read(network.cells(u, u)))) - seen
    assert error.square().mean() < 0.5 * seen.var((2, 3)).mean()


def _like(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """Other latents in place of a shard's own."""
    from safetensors import safe_open

    (path,) = folder.glob("*.safetensors")
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    write_tensors(path, tensors, facts)
    return folder


def test_a_new_run_starts_so_and_a_resumed_one_goes_on(vae, pairs, tmp_path):
    encoder, decoder = vae
    config = TrainConfig("sd15", "bridgenet", SHAPE, steps=2, batch=2, window=8, decoder_stages=1)
    trainer = Trainer(config, pairs, tmp_path / "run", decoder, encoder=encoder)
    expected = start_from_vae(SHAPE, encoder, decoder, pairs, "bicubic")
    torch.testing.assert_close(trainer.average.across.weight, expected.across.weight, atol=1e-4, rtol=1e-2)
    trainer.run()
    again = Trainer(config, pairs, tmp_path / "run", decoder, encoder=encoder)
    assert again.step == 2
    assert torch.equal(again.network.across.weight, trainer.network.across.weight)


def test_a_vae_of_another_family_is_refused(vae, tmp_path):
    pairs = PairData(write_shards(tmp_path / "pairs", family="flux"), "flux")
    with pytest.raises(InputError, match="4 channels, the pairs have 16"):
        start_from_vae(SHAPE, *vae, pairs, "bicubic")
