"""The velocity networks a checkpoint can name."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import CheckpointError
from .boostnet import BoostNet, BoostNetConfig
from .bridgenet import BridgeNet, BridgeNetConfig
from .unet import UNet, UNetConfig
from .velocity import VelocityNetwork

NETWORKS: dict[str, tuple[type, type[VelocityNetwork]]] = {
    "boostnet": (BoostNetConfig, BoostNet),
    "bridgenet": (BridgeNetConfig, BridgeNet),
    "unet": (UNetConfig, UNet),
}

MOST_BLOCKS = 1000


def network_name(network: VelocityNetwork) -> str:
    """The name under which `build` knows a network's class."""
    return next(name for name, (_, cls) in NETWORKS.items() if isinstance(network, cls))


def build(name: str, config: dict[str, Any], *, most_blocks: int = MOST_BLOCKS) -> VelocityNetwork:
    """A network of that name and configuration, on torch's current default device.

    Args:
        most_blocks: more than these (and than `MOST_BLOCKS`) are taken for a damaged or hostile description.

    Raises:
        CheckpointError: unknown name, unknown or unusable configuration.
    """
    if name not in NETWORKS:
        raise CheckpointError(
            f"the model is a network {name!r}, which this version does not know"
            f" (it knows {', '.join(NETWORKS)}): update FMBoost"
        )
    config_class, network_class = NETWORKS[name]
    known = {f.name for f in dataclasses.fields(config_class)}
    unknown = [key for key in config if key not in known]
    if unknown:
        raise CheckpointError(
            f"the {name}'s configuration has an unknown entry {unknown[0]!r}: update FMBoost"
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    try:
        shape = config_class(**values)
        if shape.blocks > min(most_blocks, MOST_BLOCKS):
            raise CheckpointError(f"the model claims {shape.blocks:,} blocks, more than the file can hold")
        return network_class(shape)
    except CheckpointError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = str(error).partition("\n")[0]  # torch may add a stack
        raise CheckpointError(f"the model's configuration is damaged: {reason}") from error
