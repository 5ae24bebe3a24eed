"""Train a BoostNet on shards of latent pairs: the recipe of the weights that ship.

One process, resumable: the state file holds network, moving average, optimiser, random state and
step, and a run that is cut and resumed continues with the same numbers.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..flow import PATHS, augment, flow_matching_loss, sample_training_point
from ..networks.boostnet import BoostNet, BoostNetConfig
from ..safetensors_file import atomic_write, open_safetensors
from ..tiny_vae import TinyDecoder
from ..upsampling import resize_latent, size_of
from .pairs import CROP, HALF

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """A recipe.

    Attributes:
        family: latent family of the pairs.
        width, depth: shape of the BoostNet.
        steps, batch: optimiser steps, and pairs in each.
        window: latent side of the training window at scale 2 (cut out of the encoded crop).
        learning_rate, warmup: AdamW's peak rate, and the steps that lead up to it; then cosine.
        ema: decay of the weights' moving average, which is what gets saved.
        sigma_max: the noise level σ is drawn up to it.
        clean: share of items with σ = 0 at t = 0: the conditional mean that detail 0 shows.
        start: share of the noised items at t = 0, where few-step sampling begins.
        feature_weight: weight of the loss in the tiny decoder's features of the predicted endpoint.
        feature_stages: how many of the decoder's resolutions it compares, from the coarsest.
        feature_until: items at times up to this enter it; near t = 1 there is little left to predict.
        seed: of everything random.
    """

    family: str = "sd15"
    width: int = 128
    depth: int = 8
    steps: int = 10_000
    batch: int = 16
    window: int = 48
    learning_rate: float = 1e-3
    warmup: int = 200
    ema: float = 0.999
    sigma_max: float = 0.5
    clean: float = 0.35
    start: float = 0.25
    feature_weight: float = 0.0
    feature_stages: int = 2
    feature_until: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.window % 4 or not 8 <= self.window <= CROP:
            raise InputError(f"window is {self.window}: a multiple of 4 from 8 to {CROP} is needed")


class PairData:
    """Shards of `pairs.encode_pairs` in memory, and batches out of them.

    Args:
        folder: where the shards are; subfolders count.
        family: the shards' family.
    """

    def __init__(self, folder: str | Path, family: str) -> None:
        self.shards: list[dict[int, Tensor]] = []
        for path in sorted(Path(folder).rglob("*.safetensors")):
            with open_safetensors(path) as file:
                found = (file.metadata() or {}).get("family")
                if found != family:
                    raise InputError(f"{path} holds pairs of family {found!r}, not {family!r}")
                self.shards.append({int(k[1:]): file.get_tensor(k) for k in file.keys()})
        if not self.shards:
            raise InputError(f"{folder} holds no shards: encode pictures first")
        self.sizes = np.array([len(shard[CROP]) for shard in self.shards])

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def batch(self, rng: np.random.Generator, count: int, window: int) -> tuple[Tensor, Tensor]:
        """Low- and high-resolution latents, (count, C, h, w) and (count, C, H, W), of one scale."""
        shard_index = rng.choice(len(self.shards), p=self.sizes / self.sizes.sum())
        shard = self.shards[shard_index]
        kind = rng.random()
        if kind < 0.7:
            return self._windows(rng, count, window)
        between = next(side for side in shard if side not in (CROP, HALF))
        # Above and below the in-between size lie the scales that 2 does not cover.
        low, high = (between, CROP) if kind < 0.85 else (HALF, between)
        rows = torch.from_numpy(rng.integers(0, len(shard[CROP]), max(1, count * 9 // 16)))
        return shard[low][rows].float(), shard[high][rows].float()

    def _windows(self, rng: np.random.Generator, count: int, window: int) -> tuple[Tensor, Tensor]:
        low, high = [], []
        for index in rng.choice(len(self.shards), count, p=self.sizes / self.sizes.sum()):
            shard = self.shards[index]
            row = rng.integers(0, len(shard[CROP]))
            top, left = rng.integers(0, HALF - window // 2 + 1, 2)
            half = window // 2
            low.append(shard[HALF][row, :, top : top + half, left : left + half])
            high.append(shard[CROP][row, :, 2 * top : 2 * top + window, 2 * left : 2 * left + window])
        return torch.stack(low).float(), torch.stack(high).float()


def feature_loss(decoder: TinyDecoder, predicted: Tensor, target: Tensor, stages: int) -> Tensor:
    """Relative squared error in the tiny decoder's features, averaged over stages; a scalar.

    What the decoder will see matters more than the latent's own numbers (compare PCFlow's loss).
    """
    with torch.no_grad():
        wanted = decoder.features(target, stages)
    found = decoder.features(predicted, stages)
    errors = [
        flow_matching_loss(f, w) / w.float().square().mean() for f, w in zip(found, wanted, strict=True)
    ]
    return torch.stack(errors).mean()


@dataclass
class Trainer:
    """A run: its state lives in `folder/state.pt`, its curve in `folder/loss.csv`.

    Args:
        config: the recipe.
        pairs: the data.
        folder: where the run is kept, and resumed from when a state is there.
        decoder: of the pairs' family, needed when `feature_weight` is positive.
        initial: weights to start a new run from, those of a network of the same shape.
        precision: of the forward and backward pass, by autocast.
    """

    config: TrainConfig
    pairs: PairData
    folder: Path
    decoder: TinyDecoder | None = None
    initial: BoostNet | None = None
    precision: torch.dtype = torch.bfloat16
    step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        config = self.config
        if config.feature_weight > 0 and self.decoder is None:
            raise InputError("feature_weight is set: give the tiny decoder of the family")
        torch.manual_seed(config.seed)
        self.rng = np.random.default_rng(config.seed)
        channels = next(iter(self.pairs.shards[0].values())).shape[1]
        shape = BoostNetConfig(channels, config.width, config.depth)
        self.network = BoostNet(shape)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.initial is not None:
            self.network.load_state_dict(self.initial.state_dict())
        self.average = BoostNet(shape).eval().requires_grad_(False)
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4
        )
        if self.state_file.exists():
            self._resume()

    @property
    def state_file(self) -> Path:
        return self.folder / "state.pt"

    def save(self) -> None:
        """Write the state, whole or not at all."""
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "numpy_rng": self.rng.bit_generator.state,
        }
        with atomic_write(self.state_file) as temporary:
            torch.save(state, temporary)

    def _resume(self) -> None:
        state = torch.load(self.state_file, weights_only=True)
        if state["config"] != asdict(self.config):
            changed = [k for k, v in asdict(self.config).items() if state["config"].get(k) != v]
            raise InputError(
                f"{self.folder} holds a run with another {', '.join(changed)}: choose another folder"
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["torch_rng"])
        self.rng.bit_generator.state = state["numpy_rng"]

    def run(self, *, until: int | None = None, save_every: float = 120.0, log_every: int = 50) -> BoostNet:
        """Train to the recipe's last step; returns the moving average. Ctrl-C saves and re-raises.

        Args:
            until: stop before this step already, on the recipe's schedule.
            save_every: seconds between saved states.
            log_every: steps between lines of the log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = started = time.monotonic()
        first, sums, count = self.step, np.zeros(2), 0
        try:
            while self.step < min(self.config.steps, until or self.config.steps):
                sums += self._train_step()
                count += 1
                if self.step % log_every == 0:
                    rate = (self.step - first) / (time.monotonic() - started)
                    mse, feature = sums / count
                    self._log(mse, feature, rate)
                    sums, count = np.zeros(2), 0
                if time.monotonic() - saved > save_every:
                    self.save()
                    saved = time.monotonic()
        finally:
            self.save()
        return self.average

    def _log(self, mse: float, feature: float, rate: float) -> None:
        log.info("step %d  mse %.4f  feature %.4f  %.2f steps/s", self.step, mse, feature, rate)
        with open(self.folder / "loss.csv", "a", encoding="utf-8") as file:
            file.write(f"{self.step},{mse:.6f},{feature:.6f}\n")

    def _learning_rate(self) -> float:
        config = self.config
        warm = min(1.0, (self.step + 1) / max(1, config.warmup))
        done = max(0, self.step - config.warmup) / max(1, config.steps - config.warmup)
        return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def _train_step(self) -> tuple[float, float]:
        config = self.config
        low, high = self.pairs.batch(self.rng, config.batch, config.window)
        items = len(low)
        u = resize_latent(low, size_of(high), "bicubic")
        sigma, t = self._levels(items)
        x0 = augment(u, torch.randn_like(u), sigma)
        point = sample_training_point(PATHS["linear"], x0, high, t)
        scale = torch.full((items,), high.shape[-1] / low.shape[-1])
        with torch.autocast("cpu", self.precision):
            predicted = self.network(point.x, t, u, sigma, scale)
            mse = flow_matching_loss(predicted, point.target)
            loss, feature = mse, torch.zeros(())
            early = t <= config.feature_until
            if self.decoder is not None and config.feature_weight > 0 and early.any():
                endpoint = point.x + (1 - t)[:, None, None, None] * predicted.float()
                feature = feature_loss(self.decoder, endpoint[early], high[early], config.feature_stages)
                loss = mse + config.feature_weight * feature
        if not torch.isfinite(loss):
            raise InputError(f"the loss is not finite at step {self.step}: lower the learning rate")
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        # Early on a short memory, so that the average is not held back by the untrained start.
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        return mse.item(), feature.item()

    def _levels(self, items: int) -> tuple[Tensor, Tensor]:
        config = self.config
        sigma, t = torch.rand(items) * config.sigma_max, torch.rand(items)
        kind = torch.rand(items)
        clean = kind < config.clean
        start = kind < config.clean + (1 - config.clean) * config.start
        return sigma.masked_fill(clean, 0.0), t.masked_fill(start, 0.0)
