"""Small real parts that many tests share."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from fmboost_core import Booster, BoosterSpec
from fmboost_core.networks.boostnet import BoostNet, BoostNetConfig

DATA = Path(__file__).parent / "data"


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights everywhere, zero-initialised layers too, so that every input matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 50
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
    return network.eval().requires_grad_(False)


def small_booster(family: str = "sd15", **spec) -> Booster:
    """An untrained BoostNet of one block and random weights: fast, and sensitive to all inputs."""
    channels = BoosterSpec(family).latent_family.channels
    network = lively(BoostNet(BoostNetConfig(latent_channels=channels, width=64, depth=1)))
    return Booster(network, BoosterSpec(family, **spec))


def random_latent(*shape: int, seed: int = 0, scale: float = 5.0) -> torch.Tensor:
    """Unscaled latents of about the size that ComfyUI passes."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
