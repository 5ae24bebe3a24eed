"""The training loop: shards of latent pairs and a recipe → a booster.

Resumable: the state file holds network, moving average, optimiser, random states and step, and a run
that is cut and resumed continues with the same numbers.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..booster import Booster
from ..errors import InputError
from ..flow import PATHS, augment, sample_training_point
from ..networks import build
from ..networks.velocity import VelocityNetwork
from ..precision import PRECISIONS
from ..safetensors_file import atomic_write
from ..spec import BoosterSpec
from ..tiny_vae import TinyDecoder
from ..upsampling import resize_latent, size_of
from .config import TrainConfig
from .data import PairData
from .loss import DecoderLoss

log = logging.getLogger(__name__)

SOURCE_UPSAMPLING = "bicubic"
EXAMPLES = 16  # crops that the decoder's feature variances are taken from
LAST_RATE = 0.01  # of the peak learning rate, where the cosine ends
LOSSES = ("velocity", "fidelity", "texture")


@dataclass
class Trainer:
    """A run: its state lives in `folder/state.pt`, its curve in `folder/loss.csv`.

    Args:
        config: the recipe.
        pairs: the data.
        folder: where the run is kept, and resumed from when a state is there.
        decoder: of the pairs' family, needed when `decoder_weight` is positive.
        initial: weights to start a new run from, those of a network of the same shape.
        device: where to train.

    Raises:
        InputError: the folder holds a run of another recipe, or parts do not fit each other.
    """

    config: TrainConfig
    pairs: PairData
    folder: Path
    decoder: TinyDecoder | None = None
    initial: VelocityNetwork | None = None
    device: torch.device | str = "cpu"
    step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        config = self.config
        self.device = torch.device(self.device)
        if config.window > self.pairs.crop:
            raise InputError(
                f"window is {config.window}, but the pairs are crops of {self.pairs.crop} latents"
            )
        torch.manual_seed(config.seed)
        self.rng = np.random.default_rng(config.seed)
        # Of noise and levels, on the CPU, so that every device trains on the same numbers.
        self.noise = torch.Generator().manual_seed(config.seed)
        shape = {"latent_channels": self.pairs.channels, **config.shape}
        self.network, self.average = (build(config.network, shape).to(self.device) for _ in range(2))
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.initial is not None:
            self._start_from(self.initial)
        self.average.eval().requires_grad_(False).load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
        )  # fmt: skip
        self.decoder_loss = self._decoder_loss()
        if self.state_file.exists():
            self._resume()

    @property
    def state_file(self) -> Path:
        return self.folder / "state.pt"

    def booster(self, training: dict[str, Any] | None = None) -> Booster:
        """The moving average as a booster, with `training` as its summary."""
        spec = BoosterSpec(
            self.config.family, sigma_range=self.config.sigma_range, training=training or {},
            source_upsampling=SOURCE_UPSAMPLING, context_upsampling=SOURCE_UPSAMPLING,
        )  # fmt: skip
        return Booster(self.average, spec)

    def save(self) -> None:
        """Write the state, whole or not at all."""
        state = {
            "config": self.config.to_json(),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "noise": self.noise.get_state(),
            "numpy": self.rng.bit_generator.state,
            "variances": self.decoder_loss.variances if self.decoder_loss else None,
        }
        with atomic_write(self.state_file) as temporary:
            torch.save(state, temporary)

    def run(self, *, until: int | None = None, save_every: float = 120.0, log_every: int = 50) -> None:
        """Train to the recipe's last step. Ctrl-C saves and re-raises.

        Args:
            until: stop before this step already, on the recipe's schedule.
            save_every: seconds between saved states.
            log_every: steps between lines of the log.

        Raises:
            InputError: the loss is not finite; the state before that step is saved.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = started = time.monotonic()
        first, losses = self.step, []
        try:
            while self.step < min(self.config.steps, until or self.config.steps):
                losses.append(self.train_step())
                if self.step % log_every == 0:
                    self._log(np.mean(losses, 0), (self.step - first) / (time.monotonic() - started))
                    losses = []
                if time.monotonic() - saved > save_every:
                    self.save()
                    saved = time.monotonic()
        finally:
            self.save()

    def train_step(self) -> tuple[float, ...]:
        """One optimiser step; returns its mean losses in the order of `LOSSES`."""
        config = self.config
        self.network.train()
        low, high = self.pairs.batch(self.rng, config.batch, config.window)
        sigma, t = self._levels(len(low))
        noise = torch.randn(high.shape, generator=self.noise)
        whole = (low, high, noise, sigma, t)
        total = torch.zeros(len(LOSSES))
        for part in zip(*(x.chunk(config.accumulate) for x in whole), strict=True):
            share = len(part[0]) / len(low)
            loss, parts = self._loss(*(x.to(self.device) for x in part))
            if not torch.isfinite(loss):
                self.optimiser.zero_grad(set_to_none=True)
                raise InputError(
                    f"the loss is not finite at step {self.step}: lower the learning rate, and go on from"
                    " the saved state"
                )
            (loss * share).backward()
            total += share * parts.detach().cpu()
        self._update()
        return tuple(total.tolist())

    def _loss(
        self, low: Tensor, high: Tensor, noise: Tensor, sigma: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss of some pairs, and its parts."""
        config = self.config
        low, high = (x.contiguous(memory_format=torch.channels_last) for x in (low, high))
        u = resize_latent(low, size_of(high), SOURCE_UPSAMPLING)
        point = sample_training_point(PATHS["linear"], augment(u, noise, sigma), high, t)
        scale = torch.full_like(t, high.shape[-1] / low.shape[-1])
        # Towards high noise, where the picture is not determined, fidelity gives way to texture.
        highest = config.sigma_range[1]
        freedom = config.texture * sigma / highest if highest > 0 else torch.zeros_like(sigma)
        dtype = PRECISIONS[config.precision]
        with torch.autocast(high.device.type, dtype, enabled=dtype != torch.float32):
            predicted = self.network(point.x, t, u, sigma, scale)
            error = predicted.float() - point.target
            velocity = (error.abs() if config.loss == "l1" else error.square()).mean((1, 2, 3))
            fidelity = texture = torch.zeros_like(velocity)
            if self.decoder_loss is not None:
                endpoint = point.x + (1 - t)[:, None, None, None] * predicted.float()
                fidelity, texture = self.decoder_loss(endpoint, high, freedom > 0)
        decoded = (1 - freedom) * fidelity + freedom * texture
        loss = ((1 - freedom) * velocity + config.decoder_weight * decoded).mean()
        return loss, torch.stack([velocity.mean(), fidelity.mean(), texture.mean()])

    def _update(self) -> None:
        config = self.config
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        # Early on a short memory, so that the average is not held back by the untrained start.
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    def _levels(self, items: int) -> tuple[Tensor, Tensor]:
        """Noise levels and times of a batch's items."""
        config = self.config
        low, high = config.sigma_range
        sigma, t, kind, begin = torch.rand(4, items, generator=self.noise)
        sigma = low + sigma * (high - low)
        return sigma.masked_fill(kind < config.clean, low), t.masked_fill(begin < config.start, 0.0)

    def _learning_rate(self) -> float:
        config = self.config
        warm = min(1.0, (self.step + 1) / max(1, config.warmup))
        done = max(0, self.step - config.warmup) / max(1, config.steps - config.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return config.learning_rate * warm * (LAST_RATE + (1 - LAST_RATE) * cosine)

    def _start_from(self, initial: VelocityNetwork) -> None:
        try:
            self.network.load_state_dict(initial.state_dict())
        except RuntimeError as error:
            raise InputError("the weights to start from are of a network of another shape") from error

    def _decoder_loss(self) -> DecoderLoss | None:
        if self.config.decoder_weight == 0:
            return None
        if self.decoder is None:
            raise InputError("decoder_weight is set: give the tiny decoder of the family")
        decoder = self.decoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        examples = torch.cat([high for _, high in self.pairs.first(EXAMPLES)])
        return DecoderLoss(decoder, self.config.decoder_stages, examples.to(self.device))

    def _resume(self) -> None:
        state = torch.load(self.state_file, weights_only=True, map_location=self.device)
        config = self.config.to_json()
        changed = [key for key, value in config.items() if state["config"].get(key) != value]
        if changed:
            raise InputError(
                f"{self.folder} holds a run with another {', '.join(changed)}: choose another folder"
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.noise.set_state(state["noise"].cpu())
        self.rng.bit_generator.state = state["numpy"]
        if self.decoder_loss is not None:
            self.decoder_loss.variances = state["variances"]

    def _log(self, losses: np.ndarray, rate: float) -> None:
        parts = "  ".join(f"{name} {value:.4f}" for name, value in zip(LOSSES, losses, strict=True))
        log.info("step %d  %s  %.2f steps/s", self.step, parts, rate)
        path = self.folder / "loss.csv"
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", *LOSSES, "steps_per_second"])
            writer.writerow([self.step, *(f"{v:.6f}" for v in losses), f"{rate:.3f}"])
