import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import in_two_processes, lively, small_booster, write_shards

from fmboost_core import InputError, load
from fmboost_core.tiny_vae import TinyDecoder, TinyEncoder
from fmboost_core.training.config import TrainConfig
from fmboost_core.training.data import PairData
from fmboost_core.training.journal import read_table
from fmboost_core.training.optimiser import OPTIMISERS
from fmboost_core.training.trainer import Trainer
from fmboost_core.upsampling import resize_latent

CONFIG = TrainConfig(
    "sd15", shape={"width": 64, "depth": 1}, steps=6, batch=2, window=8, warmup=1, decoder_weight=0.0
)


@pytest.fixture
def pairs(tmp_path):
    return PairData(write_shards(tmp_path / "pairs"), "sd15")


def changed(**changes) -> TrainConfig:
    return dataclasses.replace(CONFIG, **changes)


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.flatten() for p in (*trainer.network.parameters(), *trainer.average.parameters())])


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_run_cut_in_two_equals_the_whole(pairs, tmp_path, optimiser):
    config = changed(
        decoder_weight=1.0, decoder_stages=3, decoder_close=0.5, texture=0.5, route=0.5, optimiser=optimiser
    )
    vae = {"decoder": lively(TinyDecoder(4)), "encoder": lively(TinyEncoder(4))}
    whole = Trainer(config, pairs, tmp_path / "whole", **vae)
    whole.run(log_every=1)
    Trainer(config, pairs, tmp_path / "cut", **vae).run(until=2, log_every=1)
    second = Trainer(config, pairs, tmp_path / "cut", **vae)
    assert second.step == 2
    second.run(log_every=1)
    assert torch.equal(weights(second), weights(whole))
    texts = [(tmp_path / name / "loss.csv").read_text().splitlines() for name in ("cut", "whole")]
    curves = [list(csv.reader(text)) for text in texts]
    assert [row[:-1] for row in curves[0]] == [row[:-1] for row in curves[1]]
    assert curves[0][0][:5] == ["step", "total", "velocity", "fidelity", "texture"]


def test_an_interrupted_run_is_saved(pairs, tmp_path, monkeypatch):
    trainer = Trainer(CONFIG, pairs, tmp_path / "run")
    step = trainer.train_step

    def interrupted():
        if trainer.step == 3:
            raise KeyboardInterrupt
        return step()

    monkeypatch.setattr(trainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert Trainer(CONFIG, pairs, tmp_path / "run").step == 3


def test_a_loss_that_is_not_finite_stops_at_the_last_good_state(pairs, tmp_path):
    trainer = Trainer(CONFIG, pairs, tmp_path / "run")
    trainer.run(until=2)
    good = weights(trainer)
    batch = pairs.batch

    def spoilt(*arguments, **options):
        found = batch(*arguments, **options)
        return dataclasses.replace(found, high=found.high * float("nan"))

    trainer.pairs.batch = spoilt
    with pytest.raises(InputError, match="not finite at step 2"):
        trainer.run()
    again = Trainer(CONFIG, pairs, tmp_path / "run")
    assert again.step == 2
    assert torch.equal(weights(again), good)


def test_validations_leave_samples_and_the_latest_models(pairs, tmp_path):
    def validation(booster, sheet):
        sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.write_bytes(b"")
        return {"psnr_d0": 20.0}

    trainer = Trainer(CONFIG, pairs, tmp_path / "run")
    trainer.run(validation=validation, validate_every=1)
    names = [sorted(p.stem for p in (tmp_path / "run" / n).iterdir()) for n in ("samples", "snapshots")]
    assert names[0] == [f"{k:07d}" for k in range(1, 7)]
    assert names[1] == names[0][-3:]
    last = load(tmp_path / "run" / "snapshots" / "0000006.safetensors", dtype=torch.float32)
    mean = trainer.booster().network
    for found, wanted in zip(last.network.parameters(), mean.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, atol=0, rtol=1e-2)
    assert len(read_table(tmp_path / "run" / "validation.csv")) == 6


def test_another_recipe_does_not_continue_a_run(pairs, tmp_path):
    Trainer(CONFIG, pairs, tmp_path / "run").run(until=1)
    with pytest.raises(InputError, match="another learning_rate: choose another folder"):
        Trainer(changed(learning_rate=5.0), pairs, tmp_path / "run")


def test_a_batch_worked_off_in_parts_is_the_same_batch(pairs, tmp_path):
    def trained(seed: int, parts: int) -> torch.Tensor:
        config = changed(
            batch=8, window=16, precision="fp32", decoder_weight=1.0, decoder_close=0.5, seed=seed,
            accumulate=parts,
        )  # fmt: skip
        # Layers of zeros leave gradients of rounding errors behind them, and Adam makes whole steps of those.
        start = small_booster().network
        trainer = Trainer(config, pairs, tmp_path / f"{seed}-{parts}", lively(TinyDecoder(4)), start)
        trainer.run(until=3)
        return weights(trainer)

    # By most seeds no feature of the decoder lies so near a ReLU's bend that rounding takes it across; by
    # which, depends on the processor. Parts that are not the whole batch would be apart by every seed.
    runs = ((trained(seed, 1), trained(seed, 2)) for seed in range(1, 6))
    assert any(torch.allclose(*both, atol=1e-5, rtol=1e-4) for both in runs)


def test_the_booster_is_the_average_of_the_weights(pairs, tmp_path):
    trainer = Trainer(CONFIG, pairs, tmp_path / "run")
    start = weights(trainer).chunk(2)[0]
    trainer.run()
    now, mean = weights(trainer).chunk(2)
    assert not torch.equal(now, mean)
    assert (mean - start).norm() < (now - start).norm()
    booster = trainer.booster({"steps": 6})
    assert torch.equal(torch.cat([p.flatten() for p in booster.network.parameters()]), mean)
    assert (booster.spec.family, booster.spec.sigma_range) == ("sd15", (0.0, 0.5))
    assert booster.boost(torch.randn(1, 4, 8, 8), (16, 16)).shape == (1, 4, 16, 16)


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_training_learns(pairs, tmp_path, loss):
    trainer = Trainer(changed(steps=60, learning_rate=3e-3, loss=loss), pairs, tmp_path / "run")
    losses = [trainer.train_step()[1] for _ in range(60)]
    assert np.mean(losses[-15:]) < 0.95 * np.mean(losses[:15])


def test_fine_tuning_starts_from_the_given_weights(pairs, tmp_path):
    initial = small_booster().network
    trainer = Trainer(CONFIG, pairs, tmp_path / "run", initial=initial)
    assert all(
        torch.equal(a, b) for a, b in zip(trainer.network.parameters(), initial.parameters(), strict=True)
    )
    with pytest.raises(InputError, match="another shape"):
        Trainer(changed(shape={"width": 64, "depth": 2}), pairs, tmp_path / "other", initial=initial)


def test_weights_for_other_latents_give_all_but_the_layers_that_see_channels(tmp_path):
    initial = small_booster().network
    pairs = PairData(write_shards(tmp_path / "pairs", family="flux"), "flux")
    network = Trainer(changed(family="flux"), pairs, tmp_path / "run", initial=initial).network
    taken = dict(initial.named_parameters())
    for name, parameter in network.named_parameters():
        if name.split(".")[0] in ("stem", "head") and parameter.shape != taken[name].shape:
            continue
        assert torch.equal(parameter, taken[name]), name
    assert not network.head.weight.any()  # so that it begins as interpolation


def test_the_vae_route_is_learned_in_place_of_the_right_latents(pairs, tmp_path):
    encoder, decoder = lively(TinyEncoder(4)), lively(TinyDecoder(4))
    config = changed(clean=1.0, route=1.0, double=1.0, precision="fp32")
    trainer = Trainer(config, pairs, tmp_path / "run", decoder, encoder=encoder)
    batch = pairs.batch(np.random.default_rng([config.seed, 0]), config.batch, config.window, double=1.0)
    with torch.no_grad():
        pixels = F.interpolate(decoder(batch.low).clamp(0, 1), scale_factor=2, mode="bicubic").clamp(0, 1)
        missing = encoder(pixels) - resize_latent(batch.low, (8, 8), "bicubic")
    # An untrained BoostNet predicts no velocity at all, so that its loss is what it misses.
    missing = missing[..., batch.inner[0], batch.inner[1]]
    assert trainer.train_step()[1] == pytest.approx(missing.square().mean().item(), rel=1e-4)


@pytest.mark.parametrize("clean, share", [(0.0, 0.25), (1.0, 1.0)])
def test_items_with_noise_weigh_as_the_recipe_says(pairs, tmp_path, clean, share):
    losses = []
    for weight in (1.0, 0.25):
        trainer = Trainer(changed(clean=clean, noisy_weight=weight), pairs, tmp_path / str(weight))
        losses.append(trainer.train_step())
    assert losses[1][0] == pytest.approx(share * losses[0][0], rel=1e-4)
    assert losses[1][1:] == losses[0][1:]  # what is logged of the parts is not weighed


def test_what_lies_inside_a_cut_is_not_asked_for(pairs, tmp_path, monkeypatch):
    config = changed(clean=1.0, double=1.0)
    whole, drawn = pairs.batch, []

    def spoiled(*args, **options):
        batch = whole(*args, **options)
        beyond = torch.ones_like(batch.high)
        beyond[..., batch.inner[0], batch.inner[1]] = 0
        drawn.append(beyond.any())
        return dataclasses.replace(batch, high=batch.high + 9 * beyond)

    found = Trainer(config, pairs, tmp_path / "whole").train_step()
    monkeypatch.setattr(pairs, "batch", spoiled)
    assert Trainer(config, pairs, tmp_path / "spoiled").train_step() == found
    assert all(drawn)


def test_even_items_move_the_weights_elsewhere_and_the_log_says_the_same(pairs, tmp_path):
    values, moved = [], []
    for evenness in (0.0, 1.0):
        trainer = Trainer(changed(evenness=evenness), pairs, tmp_path / str(evenness))
        values.append(trainer.train_step())
        moved.append(torch.cat([p.detach().flatten() for p in trainer.network.parameters()]))
    assert values[0] == values[1]
    assert not torch.equal(*moved)


PROGRAM = """
import sys, dataclasses
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_trainer import TWO
from fmboost_core.training.data import PairData
from fmboost_core.processes import launched
from fmboost_core.training.trainer import Trainer
work, network = Path(sys.argv[2]), sys.argv[3]
both = launched("cpu")
assert both.count == 2
config = dataclasses.replace(TWO, network=network)
Trainer(config, PairData(work / "pairs", "sd15"), work / "both", processes=both).run()
"""
TWO = dataclasses.replace(CONFIG, steps=4, batch=6, window=16, double=0.5, precision="fp32")


@pytest.mark.parametrize("network", ["boostnet", "bridgenet"])
def test_two_processes_make_the_updates_of_one(pairs, tmp_path, network):
    config = dataclasses.replace(TWO, network=network)
    alone = Trainer(config, pairs, tmp_path / "alone")
    start = weights(alone)
    alone.run()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    in_two_processes(str(program), str(Path(__file__).parent), str(tmp_path), network)
    both = Trainer(config, pairs, tmp_path / "both")
    assert both.step == TWO.steps
    # Of a gradient that is hardly there, Adam makes a step by its sign, and that may be rounding's.
    apart, way = (weights(both) - weights(alone)).norm(), (weights(alone) - start).norm()
    assert apart < 0.005 * way
    if network == "boostnet":
        torch.testing.assert_close(weights(both), weights(alone), atol=1e-5, rtol=1e-4)


def test_the_papers_network_trains_at_its_sizes_alone(tmp_path):
    pairs = PairData(write_shards(tmp_path / "pairs", crop=32), "sd15")
    shape = {"model_channels": 32, "num_res_blocks": 1, "channel_mult": [1, 1, 2, 2]}
    config = changed(network="unet", shape=shape, window=16, double=1.0, steps=2)
    trainer = Trainer(config, pairs, tmp_path / "run")
    trainer.run()
    assert trainer.booster().boost(torch.randn(1, 4, 8, 8), (16, 16)).shape == (1, 4, 16, 16)
    with pytest.raises(InputError, match="multiples of 8, but 20 is among the sizes"):
        Trainer(dataclasses.replace(config, double=0.5), pairs, tmp_path / "other")


def test_what_does_not_fit_is_said_at_once(pairs, tmp_path):
    with pytest.raises(InputError, match="give the tiny decoder"):
        Trainer(changed(decoder_weight=1.0), pairs, tmp_path / "run")
    with pytest.raises(InputError, match="route is set: give the tiny VAE"):
        Trainer(changed(route=0.5), pairs, tmp_path / "run", lively(TinyDecoder(4)))
    with pytest.raises(InputError, match="window is 48, but the pairs are crops of 32"):
        Trainer(changed(window=48), pairs, tmp_path / "run")
