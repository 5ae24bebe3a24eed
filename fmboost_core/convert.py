"""Import checkpoints of the reference code (CompVis/fm-boosting), which are Lightning pickles.

The network is built without memory, and gets the file's own tensors once they are found to fit.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .booster import Booster
from .errors import CheckpointError, InputError
from .flow import cosine_sigma
from .networks import build
from .networks.unet import config_from_reference
from .networks.velocity import VelocityNetwork
from .reference_pickle import plain, read_pickle
from .spec import BoosterSpec

log = logging.getLogger(__name__)

EMA_PREFIX = "ema_model.ema_model.net."
ONLINE_PREFIX = "model.net."
DIFFUSION_STEPS = 1000  # the reference's schedule has this many entries, t from 0 to 1 inclusive

# The authors' published configuration (unet-base_psu.yaml), for checkpoints that carry no settings.
PUBLISHED: dict[str, Any] = {
    "upsampling_mode": "psu",
    "upsampling_mode_context": "psu",
    "start_from_noise": False,
    "noising_step": 400,
    "concat_context": True,
}
PUBLISHED_FLOW: dict[str, Any] = {"schedule": "linear"}
PUBLISHED_NETWORK: dict[str, Any] = {
    "in_channels": 8,
    "out_channels": 4,
    "model_channels": 128,
    "num_res_blocks": 3,
    "channel_mult": [1, 2, 4, 8],
    "attention_resolutions": [8, 16],
    "dim_head": 64,
    "num_heads": 4,
    "use_linear_attn": False,
}


def read_reference(
    path: str | Path,
    *,
    family: str = "sd15",
    online: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> Booster:
    """Read a reference checkpoint.

    Args:
        path: Lightning `.ckpt` of the reference's `TrainerFMBoost`.
        family: latent family it was trained in; the file does not say.
        online: take the online weights. The default is their moving average, which the reference
            stores but, by a slip, never samples from.
        overrides: settings by the reference's own names (`noising_step`, `model_channels`, …). They go
            before those in the file, and where it has none, before the authors' published ones.

    Returns:
        The booster, in fp32 on the CPU; attention scrambled and time unscaled, as it was trained.

    Raises:
        CheckpointError: the file is not such a checkpoint, or uses what cannot be imported.
    """
    path = Path(path)
    data = read_pickle(path)
    if not isinstance(data.get("state_dict"), Mapping):
        raise CheckpointError(f"{path.name} is not a Lightning checkpoint: it has no state_dict")
    module, flow, network_settings = _settings(data.get("hyper_parameters"), overrides or {}, path.name)
    spec = _spec(module, flow, family, path.name, online)
    try:
        shape = config_from_reference(network_settings)
    except ValueError as error:
        raise CheckpointError(f"{path.name}: {error}") from error
    takes_context = spec.context_upsampling is not None
    if shape.concat_context != takes_context or shape.latent_channels != spec.latent_family.channels:
        raise CheckpointError(
            f"{path.name}: a network of {shape.latent_channels} latent channels"
            f" {'with' if shape.concat_context else 'without'} context does not fit its settings"
            f" and the family {family} (choose it with --family)"
        )
    weights = _weights(data["state_dict"], ONLINE_PREFIX if online else EMA_PREFIX, path)
    with torch.device("meta"):
        network = build("unet", dataclasses.asdict(shape), most_blocks=len(weights))
    _load_weights(network, weights, path.name)
    return Booster(network.requires_grad_(False), spec)


def _settings(stored: Any, overrides: Mapping[str, Any], name: str) -> tuple[dict[str, Any], ...]:
    """Arguments of the reference's module, of its flow and of its network."""
    if stored:
        try:
            module = dict(plain(stored))
            flow = dict(module["fm_cfg"]["params"])
            network = dict(flow["net_cfg"]["params"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{name}: its settings hold no fm_cfg.params.net_cfg.params") from error
    else:
        log.warning("%s carries no settings: taking the published ones, and yours", name)
        module, flow, network = dict(PUBLISHED), dict(PUBLISHED_FLOW), dict(PUBLISHED_NETWORK)
    known = (PUBLISHED, PUBLISHED_FLOW, PUBLISHED_NETWORK)
    for key, value in overrides.items():
        target = next((t for t, k in zip((module, flow, network), known, strict=True) if key in k), None)
        if target is None:
            raise InputError(f"the reference has no setting {key!r}")
        target[key] = value
    return module, flow, network


def _spec(
    settings: Mapping[str, Any], flow: Mapping[str, Any], family: str, name: str, online: bool
) -> BoosterSpec:
    source = settings.get("upsampling_mode", "bilinear")
    context = settings.get("upsampling_mode_context") or source
    if settings.get("ca_context"):
        raise CheckpointError(f"{name}: cross-attention context (ca_context) is not supported")
    from_noise = bool(settings.get("start_from_noise"))
    takes_context = from_noise or bool(settings.get("concat_context"))
    training = {"source": f"converted from {name}", "weights": "online" if online else "moving average"}
    try:
        step = settings.get("noising_step", -1)
        sigma = 1.0 if from_noise else cosine_sigma(step / (DIFFUSION_STEPS - 1)) if step > 0 else 0.0
        return BoosterSpec(
            family=family,
            path=flow.get("schedule", "linear"),
            sigma_range=(sigma, sigma),
            sigma_min=float(flow.get("sigma_min", 0.0)),
            source_upsampling=source,
            context_upsampling=context if takes_context else None,
            training=training,
            licence="unknown",
        )
    except (CheckpointError, InputError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{name}: its settings cannot be imported: {error}") from error


def _weights(state: Mapping[str, Any], prefix: str, path: Path) -> dict[str, Any]:
    """The weights below a prefix, found to take no more memory than the file has."""
    found = {
        k.removeprefix(prefix): v for k, v in state.items() if isinstance(k, str) and k.startswith(prefix)
    }
    if not found:
        other = "--online" if prefix == EMA_PREFIX else "no --online"
        raise CheckpointError(f"{path.name} has no weights {prefix}*: try {other}")
    # A view can repeat one number without end, and views can share one storage.
    claimed = sum(v.numel() * v.element_size() for v in found.values() if isinstance(v, Tensor))
    if claimed > path.stat().st_size:
        raise CheckpointError(f"{path.name} claims {claimed:,} bytes of weights, more than it holds")
    return found


def _load_weights(network: VelocityNetwork, weights: Mapping[str, Any], name: str) -> None:
    expected = {k: v.shape for k, v in network.state_dict().items()}
    for key in sorted(expected.keys() | weights.keys()):
        found = weights.get(key)
        if not isinstance(found, Tensor) or key not in expected or found.shape != expected[key]:
            raise CheckpointError(f"{name}: the weight {key} does not fit the settings' network")
    network.load_state_dict({k: v.float() for k, v in weights.items()}, assign=True)
