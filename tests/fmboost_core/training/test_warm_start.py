from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import lively, write_shards

from fmboost_core import InputError
from fmboost_core.safetensors_file import write_tensors
from fmboost_core.tiny_vae import TinyDecoder, TinyEncoder
from fmboost_core.training import warm_start
from fmboost_core.training.config import TrainConfig
from fmboost_core.training.data import PairData
from fmboost_core.training.trainer import Trainer
from fmboost_core.training.warm_start import start_from_vae
from fmboost_core.upsampling import resize_latent

SHAPE = {"width": 64, "depth": 1}


@pytest.fixture(scope="module")
def vae() -> tuple[TinyEncoder, TinyDecoder]:
    return lively(TinyEncoder(4)), lively(TinyDecoder(4))


@pytest.fixture
def pairs(tmp_path, monkeypatch) -> PairData:
    """Few and small: what the fit is worth has its own test."""
    monkeypatch.setattr(warm_start, "EXAMPLES", 2)
    return PairData(write_shards(tmp_path / "pairs", crop=16), "sd15")


@pytest.mark.parametrize(("resolutions", "read", "unwritten"), [(3, 15, 8), (4, 19, 4)])
def test_it_reads_and_writes_as_the_vae_does(vae, pairs, resolutions, read, unwritten):
    encoder, decoder = vae
    network = start_from_vae(SHAPE | {"resolutions": resolutions}, encoder, decoder, pairs)
    small = torch.randn(1, 4, 8, 8)
    seen = network.wide(network.fine(network.coarse(small)))
    torch.testing.assert_close(seen, torch.nn.Sequential(*list(decoder)[:read])(small))
    pixels = torch.rand(1, 3, 64, 64)
    features = torch.nn.Sequential(*list(encoder)[:unwritten])(pixels)
    torch.testing.assert_close(network.writer(network.narrow(features)), encoder(pixels))


def test_the_fit_is_better_than_its_constant(vae, tmp_path):
    """On pairs that belong together, what crosses explains what the encoder sees in the large latent."""
    encoder, decoder = vae
    large = resize_latent(torch.randn(6, 4, 4, 4), (16, 16), "bicubic")
    latents = {s: F.interpolate(large, (s, s), mode="bicubic", antialias=True) for s in (16, 12, 8)}
    tensors = {f"z{s}": z.half() for s, z in latents.items()}
    pairs = PairData(_like(write_shards(tmp_path / "pairs", shards=1, crop=16), tensors), "sd15")
    network = start_from_vae(SHAPE, encoder, decoder, pairs)
    seen = torch.nn.Sequential(*list(encoder)[:8])(decoder(large[:1]).clamp(0, 1))

    def error(side: int) -> float:
        low = latents[side][:1]
        found = network.across(network.wide(network.fine(network.coarse(low))), (32, 32))
        return (found - seen).square().mean().item()

    fitted = {side: error(side) for side in (8, 12)}
    assert max(fitted.values()) < 0.5 * seen.var((2, 3)).mean()
    with torch.no_grad():
        network.across.slope.weight.zero_()
    assert error(12) > 1.05 * fitted[12]
    assert error(8) <= 1.05 * fitted[8]  # at scale 2 there is nothing to follow


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
    expected = start_from_vae(SHAPE, encoder, decoder, pairs)
    for name, weight in expected.across.named_parameters():
        found = trainer.average.across.get_parameter(name)
        torch.testing.assert_close(found, weight, atol=1e-3, rtol=1e-2)
    trainer.run()
    again = Trainer(config, pairs, tmp_path / "run", decoder, encoder=encoder)
    assert again.step == 2
    assert torch.equal(again.network.across.value.weight, trainer.network.across.value.weight)


def test_a_vae_of_another_family_is_refused(vae, tmp_path):
    pairs = PairData(write_shards(tmp_path / "pairs", family="flux"), "flux")
    with pytest.raises(InputError, match="4 channels, the pairs have 16"):
        start_from_vae(SHAPE, *vae, pairs)
