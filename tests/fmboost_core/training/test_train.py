import numpy as np
import pytest
import torch
from helpers import lively

from fmboost_core import InputError
from fmboost_core.safetensors_file import write_tensors
from fmboost_core.tiny_vae import TinyDecoder
from fmboost_core.training.train import PairData, TrainConfig, Trainer, feature_loss

CONFIG = TrainConfig(width=64, depth=1, steps=6, batch=2, window=8, warmup=1)


@pytest.fixture
def pairs(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for shard, between in enumerate((40, 48)):
        sizes = (64, 32, between)
        tensors = {f"z{s}": torch.randn(3, 4, s, s, generator=generator).half() for s in sizes}
        write_tensors(tmp_path / "pairs" / f"{shard}.safetensors", tensors, {"family": "sd15"})
    return PairData(tmp_path / "pairs", "sd15")


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.flatten() for p in (*trainer.network.parameters(), *trainer.average.parameters())])


def test_a_run_cut_in_two_equals_the_whole(pairs, tmp_path):
    whole = Trainer(CONFIG, pairs, tmp_path / "whole")
    whole.run()
    first = Trainer(CONFIG, pairs, tmp_path / "cut")
    for _ in range(2):
        first._train_step()
    first.save()
    second = Trainer(CONFIG, pairs, tmp_path / "cut")
    assert second.step == 2
    second.run()
    assert torch.equal(weights(second), weights(whole))


def test_an_interrupted_run_is_saved(pairs, tmp_path, monkeypatch):
    trainer = Trainer(CONFIG, pairs, tmp_path / "run")
    step = trainer._train_step

    def interrupted():
        if trainer.step == 3:
            raise KeyboardInterrupt
        return step()

    monkeypatch.setattr(trainer, "_train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert Trainer(CONFIG, pairs, tmp_path / "run").step == 3


def test_another_recipe_does_not_continue_a_run(pairs, tmp_path):
    Trainer(CONFIG, pairs, tmp_path / "run").save()
    other = TrainConfig(**{**vars(CONFIG), "learning_rate": 5.0})
    with pytest.raises(InputError, match="another learning_rate"):
        Trainer(other, pairs, tmp_path / "run")


def test_the_saved_average_is_an_average(pairs, tmp_path):
    trainer = Trainer(CONFIG, pairs, tmp_path / "run")
    trainer.run()
    now, mean = weights(trainer).chunk(2)
    assert not torch.equal(now, mean)
    start = weights(Trainer(CONFIG, pairs, tmp_path / "new")).chunk(2)[0]
    assert (mean - start).norm() < (now - start).norm()


def test_training_learns(pairs, tmp_path):
    config = TrainConfig(**{**vars(CONFIG), "steps": 60, "learning_rate": 3e-3})
    trainer = Trainer(config, pairs, tmp_path / "run")
    losses = [trainer._train_step()[0] for _ in range(60)]
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:15])


def test_batches_are_pairs_of_the_same_crop(tmp_path):
    """Latents that are pictures of their own coordinates: low and high must show the same window."""
    grid = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij"))
    high = torch.cat([grid, grid])[None]
    low, between = (torch.nn.functional.interpolate(high, size=s, mode="area") for s in (32, 48))
    tensors = {"z64": high.half(), "z32": low.half(), "z48": between.half()}
    write_tensors(tmp_path / "0.safetensors", tensors, {"family": "sd15"})
    data, rng = PairData(tmp_path, "sd15"), np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        low, high = data.batch(rng, 4, 16)
        seen.add((low.shape[-1], high.shape[-1]))
        shrunk = torch.nn.functional.interpolate(high, size=low.shape[-2:], mode="area")
        torch.testing.assert_close(shrunk, low, atol=0.6, rtol=0)
    assert seen == {(8, 16), (48, 64), (32, 48)}


def test_feature_loss_is_zero_for_equal_latents_and_grows():
    decoder = lively(TinyDecoder(4))
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    near, far = (feature_loss(decoder, z + s * noise, z, 2).item() for s in (0.1, 0.5))
    assert feature_loss(decoder, z, z, 2).item() == 0
    assert 0 < near < far


def test_shards_of_another_family_are_refused(pairs, tmp_path):
    with pytest.raises(InputError, match="family 'sd15', not 'flux'"):
        PairData(tmp_path / "pairs", "flux")
    with pytest.raises(InputError, match="holds no shards"):
        PairData(tmp_path / "nothing", "sd15")


def test_feature_loss_needs_a_decoder(pairs, tmp_path):
    with pytest.raises(InputError, match="give the tiny decoder"):
        Trainer(TrainConfig(feature_weight=1.0), pairs, tmp_path / "run")
