"""What a booster is besides its weights: the facts a checkpoint carries in its metadata."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError
from .families import FAMILIES, LatentFamily
from .flow import PATHS
from .upsampling import MODES


@dataclass(frozen=True)
class BoosterSpec:
    """Facts about a trained velocity network.

    Attributes:
        family: name of the latent family it was trained in, a key of `families.FAMILIES`.
        path: probability path it was trained on, a key of `flow.PATHS`.
        sigma_range: noise levels σ it knows, mapped to detail 0 … 1. Equal ends: a model of one noise
            level, as in the paper; (1, 1): it starts from pure noise ("FM"); (0, 0): from the
            upsampled latent itself.
        sigma_min: width of the Gaussian around the path in training.
        source_upsampling: how the flow's source is upsampled, one of `upsampling.MODES`.
        context_upsampling: the same for the network's context; None: it takes no context.
        scale_range: smallest and largest enlargement of one stage.
        mean, std: per-channel normalisation on top of the family's scale and shift; empty: none.
        training: free summary (data, steps, seed, metrics) for people to read.
        licence: of the weights, an SPDX identifier.
    """

    family: str
    path: str = "linear"
    sigma_range: tuple[float, float] = (0.0, 0.5)
    sigma_min: float = 0.0
    source_upsampling: str = "bicubic"
    context_upsampling: str | None = "bicubic"
    scale_range: tuple[float, float] = (1.0, 2.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = "MIT"

    def __post_init__(self) -> None:
        _require(self.family in FAMILIES, f"unknown latent family {self.family!r}")
        _require(self.path in PATHS, f"unknown path {self.path!r}")
        _require(self.source_upsampling in MODES, f"unknown upsampling {self.source_upsampling!r}")
        _require(self.context_upsampling in (None, *MODES), f"unknown upsampling {self.context_upsampling!r}")
        low, high = self.sigma_range
        _require(0 <= low <= high <= 1, f"sigma_range {self.sigma_range} is not within 0 to 1")
        _require(self.sigma_min >= 0, f"sigma_min {self.sigma_min} is negative")
        low, high = self.scale_range
        _require(1 <= low <= high <= 8 and high > 1, f"scale_range {self.scale_range} is not within 1 to 8")
        channels = FAMILIES[self.family].channels
        for name, values in (("mean", self.mean), ("std", self.std)):
            _require(
                len(values) in (0, channels) and all(map(math.isfinite, values)),
                f"{name} does not hold {channels} finite numbers",
            )
        _require(all(s > 0 for s in self.std), "std is not positive")
        _require(isinstance(self.training, dict), "training is not an object")
        _require(isinstance(self.licence, str), "licence is not text")

    @property
    def latent_family(self) -> LatentFamily:
        return FAMILIES[self.family]

    @property
    def straight(self) -> bool:
        """Whether paths are linear, and the context is the source without its noise."""
        alike = self.source_upsampling == self.context_upsampling
        return alike and self.path == "linear" and self.sigma_min == 0

    def sigma(self, detail: float) -> float:
        """Noise level σ at a detail in [0, 1]."""
        low, high = self.sigma_range
        return low + detail * (high - low)

    def normalise(self, samples: Tensor) -> Tensor:
        """Unscaled latents (B, C, ...) → the network's space."""
        z = self.latent_family.to_model(samples)
        z = z - _per_channel(self.mean, z) if self.mean else z
        return z / _per_channel(self.std, z) if self.std else z

    def to_family(self, z: Tensor) -> Tensor:
        """The network's space (B, C, ...) → the family's model space."""
        z = z * _per_channel(self.std, z) if self.std else z
        return z + _per_channel(self.mean, z) if self.mean else z

    def denormalise(self, z: Tensor) -> Tensor:
        """The network's space (B, C, ...) → unscaled latents."""
        return self.latent_family.from_model(self.to_family(z))

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BoosterSpec:
        """The inverse of `to_json`. Raises `CheckpointError` naming the fact that is wrong."""
        known = {f.name for f in dataclasses.fields(cls)}
        for key in data:
            _require(key in known, f"unknown entry {key!r}")
        _require("family" in data, "no latent family")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"the model's description is damaged: {error}") from error


def _per_channel(values: tuple[float, ...], z: Tensor) -> Tensor:
    return torch.tensor(values, dtype=z.dtype, device=z.device).reshape(1, -1, *[1] * (z.ndim - 2))


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise CheckpointError(f"the model's description is damaged: {fault}")
