"""The training loop: shards of latent pairs and a recipe → a booster.

Resumable: the state file holds network, moving average, optimiser and step, and a run that is cut and
resumed continues with the same numbers. All randomness follows from the seed, the step, and an item's
number in the batch; so it does not matter on how many processes or in how many parts a batch is worked
off, nor on which device.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..booster import Booster
from ..checkpoint import save
from ..errors import InputError, OutputError
from ..flow import PATHS, augment, per_item, sample_training_point
from ..interpolation import vae_route
from ..networks import build
from ..networks.bridgenet import BridgeNet
from ..networks.velocity import VelocityNetwork
from ..precision import PRECISIONS, training_precision
from ..processes import Processes
from ..safetensors_file import atomic_write
from ..spec import BoosterSpec
from ..tiny_vae import TinyDecoder, TinyEncoder
from ..upsampling import resize_latent, size_of
from .config import AUTO, TrainConfig
from .data import PairData
from .draws import draw, draw_close
from .journal import Journal
from .loss import DecoderLoss, evening
from .optimiser import Optimiser
from .warm_start import start_from_vae, start_from_weights

if TYPE_CHECKING:  # it needs the extra `eval`, which training without pictures does not
    from .validation import Validation

log = logging.getLogger(__name__)

EXAMPLES = 16  # crops that the decoder's feature variances are taken from
LOSSES = ("total", "velocity", "fidelity", "texture")
SNAPSHOTS = 3  # models of the latest validations that are kept


@dataclass
class Trainer:
    """A run: its state lives in `folder/state.pt`, its numbers in `folder/*.csv`.

    Args:
        config: the recipe.
        pairs: the data.
        folder: where the run is kept, and resumed from when a state is there.
        decoder: of the pairs' family, needed when `decoder_weight` or `route` is positive.
        initial: weights to start a new run from, those of a network of the same shape; the latents may have
            another number of channels.
        processes: this process among those that train together.
        encoder: of the pairs' family; with the decoder, what a new BridgeNet starts from, and the VAE route.

    Raises:
        InputError: the folder holds a run of another recipe, or parts do not fit each other.
    """

    config: TrainConfig
    pairs: PairData
    folder: Path
    decoder: TinyDecoder | None = None
    initial: VelocityNetwork | None = None
    processes: Processes = field(default_factory=Processes)
    encoder: TinyEncoder | None = None
    step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        config = self.config
        auto = config.precision == AUTO
        self.dtype = PRECISIONS[training_precision(self.processes.device) if auto else config.precision]
        torch.manual_seed(config.seed)
        shape = {"latent_channels": self.pairs.channels, **config.shape}
        self.network, self.average = (build(config.network, shape) for _ in range(2))
        self.pairs.check_sizes(config.window, config.double, self.network.size_multiple)
        self._start()
        self.average.eval().requires_grad_(False).load_state_dict(self.network.state_dict())
        for module in (self.network, self.average, self.encoder, self.decoder):
            if module is not None:
                module.to(self.processes.device)
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = Optimiser(self.network, config.optimiser, config.weight_decay)
        self.decoder_loss = self._decoder_loss()
        if config.route > 0 and (self.decoder is None or self.encoder is None):
            raise InputError("route is set: give the tiny VAE of the family")
        if self.state_file.exists():
            self._resume()
        self._parallel = self.processes.prepare(self.network)

    @property
    def state_file(self) -> Path:
        return self.folder / "state.pt"

    def booster(self, training: dict[str, Any] | None = None) -> Booster:
        """The moving average as a booster, with `training` as its summary."""
        spec = BoosterSpec(
            self.config.family, sigma_range=self.config.sigma_range, training=training or {},
            source_upsampling=self.config.upsampling, context_upsampling=self.config.upsampling,
        )  # fmt: skip
        return Booster(self.average, spec)

    def save(self) -> None:
        """Write the state, whole or not at all; the first process does it for all."""
        if not self.processes.first:
            return
        state = {
            "config": self.config.to_json(),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "variances": self.decoder_loss.variances if self.decoder_loss else None,
        }
        try:
            with atomic_write(self.state_file) as temporary:
                torch.save(state, temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OutputError(f"{self.state_file} cannot be written: {str(error).splitlines()[0]}") from error

    def run(
        self, *, until: int | None = None, save_every: float = 120.0, log_every: int = 50,
        validation: Validation | None = None, validate_every: int = 500,
        watch: Callable[[int], None] = lambda step: None,
    ) -> None:  # fmt: skip
        """Train to the recipe's last step. Ctrl-C saves and re-raises.

        Args:
            until: stop before this step already, on the recipe's schedule.
            save_every: seconds between saved states.
            log_every: steps between rows of the log.
            validation: measures the moving average; samples and the latest models are kept, too.
            validate_every: steps between validations.
            watch: called after each step with its number; what it raises ends the run as Ctrl-C does.

        Raises:
            InputError: the loss is not finite; the state before that step is saved.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(self.folder) if self.processes.first else None
        saved = started = time.monotonic()
        first, losses = self.step, []
        try:
            while self.step < min(self.config.steps, until or self.config.steps):
                losses.append(self.train_step())
                watch(self.step)
                if self.step % log_every == 0 and journal:
                    rate = (self.step - first) / (time.monotonic() - started)
                    self._log(journal, np.mean(losses, 0), rate)
                    losses = []
                if validation and journal and self.step % validate_every == 0:
                    self._validate(journal, validation)
                if time.monotonic() - saved > save_every:
                    self.save()
                    if journal:  # here, because a picture takes longer than a row
                        journal.draw()
                    saved = time.monotonic()
        finally:
            self.save()
            if journal:
                journal.draw()
        self.processes.wait()

    def train_step(self) -> list[float]:
        """One optimiser step; returns its mean losses in the order of `LOSSES`."""
        config, who = self.config, self.processes
        self.network.train()
        parts = config.accumulate * who.count
        total = torch.zeros(len(LOSSES), device=who.device)
        for part in range(who.index, parts, who.count):
            rng = np.random.default_rng([config.seed, self.step])
            batch = self.pairs.batch(
                rng, config.batch, config.window, double=config.double, part=part, parts=parts
            )
            drawn = draw(config, self.step, batch.items, tuple(batch.high.shape[1:]))
            close = draw_close(rng, config.decoder_close, batch.high.shape[-1], batch.inner)
            given = (x.to(who.device) for x in (batch.low, batch.high, *drawn))
            loss, values = self._loss(*given, inner=batch.inner, close=close)
            # Parts may differ by one pair; gradients are averaged over the processes.
            share = len(batch.items) / batch.total
            who.backward(loss * share * who.count)
            total += share * values.detach()
        total = who.sum(total)
        if not torch.isfinite(total).all():
            self.optimiser.forget()
            raise InputError(
                f"the loss is not finite at step {self.step}: lower the learning rate, and go on from the"
                " saved state"
            )
        self._update()
        return total.tolist()

    def _loss(
        self, low: Tensor, high: Tensor, noise: Tensor, sigma: Tensor, t: Tensor, routed: Tensor,
        *, inner: tuple[slice, slice], close: tuple[slice, slice],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The loss of some pairs, and its parts."""
        config = self.config
        low, high = (x.contiguous(memory_format=torch.channels_last) for x in (low, high))
        high = self._wanted(low, high, routed)
        u = resize_latent(low, size_of(high), config.upsampling)
        point = sample_training_point(PATHS["linear"], augment(u, noise, sigma), high, t)
        scale = torch.full_like(t, high.shape[-1] / low.shape[-1])
        # Towards high noise, where the picture is not determined, fidelity gives way to texture; by the
        # root, so that little noise is enough for much of it.
        highest = config.sigma_range[1]
        freedom = config.texture * (sigma / highest).sqrt() if highest > 0 else torch.zeros_like(sigma)
        with torch.autocast(high.device.type, self.dtype, enabled=self.dtype != torch.float32):
            context = low if self.network.upsamples else u
            predicted = self._parallel(point.x, t, context, sigma, scale)
            error = (predicted.float() - point.target)[..., inner[0], inner[1]]
            velocity = (error.abs() if config.loss == "l1" else error.square()).mean((1, 2, 3))
            fidelity = texture = torch.zeros_like(velocity)
            if self.decoder_loss is not None:
                endpoint = point.x + per_item(1 - t, point.x) * predicted.float()
                fidelity, texture = self.decoder_loss(endpoint, high, freedom > 0, close)
        decoded = (1 - freedom) * fidelity + freedom * texture
        weight = torch.where(sigma > config.sigma_range[0], config.noisy_weight, 1.0)
        lost = (1 - freedom) * velocity + config.decoder_weight * decoded
        values = torch.stack([(weight * lost).mean(), velocity.mean(), fidelity.mean(), texture.mean()])
        weight = weight * evening(lost / (1 + config.decoder_weight), config.evenness)
        return (weight * lost).mean(), values

    @torch.no_grad()
    def _wanted(self, low: Tensor, high: Tensor, routed: Tensor) -> Tensor:
        """The right latents, or what the VAE route makes of the small ones."""
        if not routed.any():
            return high
        encode, decode = self.encoder, self.decoder
        assert encode is not None and decode is not None
        with torch.autocast(high.device.type, self.dtype, enabled=self.dtype != torch.float32):
            made = vae_route(low[routed], size_of(high), lambda z: decode(z).clamp(0, 1), encode, "bicubic")
        return high.index_put((routed,), made.to(high))

    def _update(self) -> None:
        config = self.config
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimiser.step(config.rate(self.step))
        self.step += 1
        # Early on a short memory, so that the average is not held back by the untrained start.
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    def _start(self) -> None:
        """A new run's weights; weights to start from must fit a run that is there already, too."""
        if self.initial is not None:
            start_from_weights(self.network, self.initial)
        elif self.state_file.exists() or not isinstance(self.network, BridgeNet):
            return
        elif self.encoder and self.decoder:
            network = start_from_vae(self.config.shape, self.encoder, self.decoder, self.pairs)
            self.network.load_state_dict(network.state_dict())

    def _decoder_loss(self) -> DecoderLoss | None:
        if self.config.decoder_weight == 0:
            return None
        if self.decoder is None:
            raise InputError("decoder_weight is set: give the tiny decoder of the family")
        examples = torch.cat([high for _, high in self.pairs.first(EXAMPLES)])
        config = self.config
        examples = examples.to(self.processes.device)
        return DecoderLoss(
            self.decoder, config.decoder_stages, examples, config.decoder_pixels, config.structure
        )

    def _resume(self) -> None:
        state = torch.load(self.state_file, weights_only=True, map_location=self.processes.device)
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
        if self.decoder_loss is not None:
            self.decoder_loss.variances = state["variances"]

    def _log(self, journal: Journal, losses: np.ndarray, rate: float) -> None:
        values = dict(zip(LOSSES, losses.tolist(), strict=True))
        parts = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        log.info("step %d  %s  %.2f steps/s", self.step, parts, rate)
        journal.add("loss", self.step, values | {"steps_per_second": rate})

    def _validate(self, journal: Journal, validation: Validation) -> None:
        booster = self.booster()
        found = validation(booster, self.folder / "samples" / f"{self.step:07d}.png")
        log.info("step %d  %s", self.step, "  ".join(f"{k} {v:.4f}" for k, v in found.items()))
        journal.add("validation", self.step, found)
        snapshots = self.folder / "snapshots"
        save(snapshots / f"{self.step:07d}.safetensors", booster)
        for old in sorted(snapshots.glob("*.safetensors"))[:-SNAPSHOTS]:
            old.unlink()
