"""A training recipe: one flat TOML file, every entry named and checked."""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..families import FAMILIES
from ..networks import NETWORKS
from ..upsampling import LATENT_MODES
from .optimiser import OPTIMISERS

LOSSES = ("l2", "l1")
AUTO = "auto"
TRAINING_PRECISIONS = (AUTO, "bf16", "fp32")  # fp16 would need its gradients scaled
DECODER_STAGES = 4  # three resolutions of features, and the pixels
LAST_RATE = 0.01  # of the peak learning rate, where the cosine ends


@dataclass(frozen=True)
class TrainConfig:
    """A recipe.

    Attributes:
        family: latent family of the pairs.
        network: name of the network's class, `bridgenet`, `boostnet` or `unet`.
        shape: fields of its configuration, but for the latent channels.
        steps: optimiser steps.
        batch: pairs in each, over all processes.
        accumulate: parts that a batch is worked off in, where memory is short.
        window: latent side of the training window at scale 2 (cut out of the encoded crop,
            most often at its border).
        double: share of the batches at scale 2, where most people use a model; the others at any scale
            that the pairs have.
        upsampling: of the small latent, for the flow's source and the network's context.
        optimiser: `adamw`, or `muon` for the trunk's convolutions and AdamW for the rest.
        learning_rate, warmup: the peak rate, and the steps that lead up to it; then cosine.
        weight_decay, clip: of the optimiser, and the norm that gradients are clipped to.
        ema: decay of the weights' moving average, which is what gets saved.
        sigma_range: noise levels σ of the source; equal ends for one level, as in the paper.
        clean: share of items at the least σ and t = 0: the conditional mean that detail 0 shows in a step.
        route: share of those that at first learn what the VAE route makes (decode, enlarge the pixels,
            encode) in place of the right latent: it can be foreseen wholly, so that fewer steps teach more.
            It falls evenly, to none at the last step.
        noisy_weight: weight of those with noise, where the ones without have 1. Textures have much larger
            gradients, which agree less from batch to batch and drown what detail 0 could learn.
        evenness: how far easy items, such as smooth pictures, count as much as hard ones. At 0 an item counts
            by its squared error, of which detailed pictures make up nearly all; at 1 by the logarithm, whose
            mean is what PSNR's is; between by a power of it.
        start: share of the other items at t = 0, where few-step sampling begins; the rest uniform in t.
        loss: of the velocity, `l2` or `l1`.
        decoder_weight: weight of the loss in the tiny decoder's features of the predicted endpoint.
        decoder_stages: how many of the decoder's stages it compares, 1 to 4, the fourth being pixels.
        decoder_pixels: weight of the pixels among the stages, where each of the others has 1.
        decoder_close: share of a window's side, at another place in each step, that the third and fourth
            stage look at, and the others little more: they cost most, and neighbouring places teach much the
            same; 1 for all of it.
        structure: weight of the pixels' unlikeness beside their squared error, which alone leaves out what
            the small picture does not show for sure; lumas are compared by octaves, and contrast counts.
        texture: at the highest σ, how much of the fidelity is given up for the right amount of texture,
            0 to 1; below in proportion to the root of σ.
        precision: of the forward and backward pass; `auto` is bf16 where the device has it, else fp32.
        seed: of everything random.
    """

    family: str
    network: str = "boostnet"
    shape: dict[str, Any] = field(default_factory=dict)
    steps: int = 10_000
    batch: int = 16
    accumulate: int = 1
    window: int = 48
    double: float = 0.7
    upsampling: str = "bicubic"
    optimiser: str = "adamw"
    learning_rate: float = 5e-4
    warmup: int = 200
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    sigma_range: tuple[float, float] = (0.0, 0.5)
    clean: float = 0.4
    route: float = 0.0
    noisy_weight: float = 1.0
    evenness: float = 0.0
    start: float = 0.6
    loss: str = "l2"
    decoder_weight: float = 1.0
    decoder_stages: int = 4
    decoder_pixels: float = 1.0
    decoder_close: float = 1.0
    structure: float = 0.0
    texture: float = 0.0
    precision: str = AUTO
    seed: int = 0

    def __post_init__(self) -> None:
        _choice("family", self.family, FAMILIES)
        _choice("network", self.network, NETWORKS)
        _choice("upsampling", self.upsampling, LATENT_MODES)
        _choice("loss", self.loss, LOSSES)
        _choice("optimiser", self.optimiser, OPTIMISERS)
        _choice("precision", self.precision, TRAINING_PRECISIONS)
        for name in ("steps", "batch", "accumulate"):
            _require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: at least 1 is needed")
        _require(
            self.window % 4 == 0 and self.window >= 8,
            f"window is {self.window}: give a multiple of 4, at least 8",
        )
        _require(
            0 < self.decoder_close <= 1,
            f"decoder_close is {self.decoder_close}: give a share of the side, above 0 and up to 1",
        )
        own = NETWORKS[self.network][1].upsamples
        _require(
            own in (None, self.upsampling),
            f"upsampling is {self.upsampling!r}, but a {self.network} upsamples by {own!r}",
        )
        _require(self.learning_rate > 0, f"learning_rate is {self.learning_rate}: it must be positive")
        for name in ("double", "clean", "route", "evenness", "start", "texture"):
            _require(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}: give 0 to 1")
        _require(0 <= self.ema < 1, f"ema is {self.ema}: give 0 to just under 1")
        _require(self.structure >= 0, f"structure is {self.structure}: give 0 or a positive weight")
        _require(
            self.structure == 0 or self.decoder_stages == DECODER_STAGES,
            f"structure compares pixels: it needs decoder_stages = {DECODER_STAGES}",
        )
        low, high = self.sigma_range
        _require(0 <= low <= high <= 1, f"sigma_range is {self.sigma_range}: give two values, 0 to 1")
        for name in ("decoder_pixels", "noisy_weight"):
            _require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}: give a positive weight")
        _require(
            1 <= self.decoder_stages <= DECODER_STAGES,
            f"decoder_stages is {self.decoder_stages}: give 1 to {DECODER_STAGES}",
        )
        _require(
            self.batch % self.accumulate == 0,
            f"a batch of {self.batch} cannot be worked off in {self.accumulate} equal parts",
        )

    def rate(self, step: int) -> float:
        """The learning rate of a step: linear warm-up, then a cosine down to `LAST_RATE` of the peak."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        done = max(0, step - self.warmup) / max(1, self.steps - self.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * warm * (LAST_RATE + (1 - LAST_RATE) * cosine)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise InputError(fault)


def _choice(name: str, value: str, known: Any) -> None:
    _require(value in known, f"there is no {name} {value!r}: choose one of {', '.join(known)}")


def read_config(path: str | Path) -> TrainConfig:
    """A recipe from a TOML file.

    Raises:
        InputError: no such file, not TOML, an unknown entry (the nearest known one is named), a value of
            the wrong kind or out of range.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if Path(path).exists() and not Path(path).is_file():
        raise InputError(f"{path} is not a file")  # a pipe would be waited for
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    fields = {f.name: f for f in dataclasses.fields(TrainConfig)}
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1, 0)
            raise InputError(f"{path}: there is no entry {key!r}; the nearest is {near[0]!r}")
        values[key] = _typed(path, key, value)
    if "family" not in values:
        raise InputError(f"{path}: the entry 'family' is missing (one of {', '.join(FAMILIES)})")
    try:
        return TrainConfig(**values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


KINDS: dict[str, type | tuple[type, ...]] = {"shape": dict, "sigma_range": list}


def _typed(path: str | Path, key: str, value: Any) -> Any:
    """The value as the field's type; whole numbers are welcome where fractions are."""
    default = next(f.default for f in dataclasses.fields(TrainConfig) if f.name == key)
    wanted = KINDS.get(key) or (str if default is dataclasses.MISSING else type(default))
    number = wanted in (int, float)
    fits = isinstance(value, (int, float) if wanted is float else wanted)
    if not fits or (number and isinstance(value, bool)):
        raise InputError(f"{path}: {key} is {value!r}, which is not {_name(wanted)}")
    if key == "sigma_range":
        if len(value) != 2 or not all(isinstance(v, int | float) for v in value):
            raise InputError(f"{path}: sigma_range is {value!r}: give two numbers")
        return tuple(map(float, value))
    return float(value) if wanted is float else value


def _name(kind: Any) -> str:
    return {str: "text", int: "a whole number", float: "a number", dict: "a table", list: "a list"}[kind]
