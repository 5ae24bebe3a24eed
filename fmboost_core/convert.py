"""Import checkpoints of the reference code (CompVis/fm-boosting), which are Lightning pickles.

This is the one place that opens a pickle, and only with torch's restricted reader. The reference
keeps its settings in OmegaConf containers; inert stand-ins take the place of those classes, so no code
of the file's choosing runs and OmegaConf need not be installed.
"""

from __future__ import annotations

import builtins
import collections
import logging
import pickle
import typing
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .booster import Booster
from .errors import CheckpointError, InputError
from .flow import cosine_sigma
from .networks.unet import UNet, config_from_reference
from .spec import BoosterSpec

log = logging.getLogger(__name__)

EMA_PREFIX = "ema_model.ema_model.net."
ONLINE_PREFIX = "model.net."
DIFFUSION_STEPS = 1000  # the reference's schedule has this many entries, t from 0 to 1 inclusive
HARMLESS_BUILTINS = ("dict", "list", "tuple", "int", "float", "bool", "str", "set")

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
    data = _read_pickle(path)
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
    network = UNet(shape)
    _load_weights(network, data["state_dict"], path.name, ONLINE_PREFIX if online else EMA_PREFIX)
    return Booster(network.requires_grad_(False), spec)


def _settings(stored: Any, overrides: Mapping[str, Any], name: str) -> tuple[dict[str, Any], ...]:
    """Arguments of the reference's module, of its flow and of its network."""
    module = _plain(stored or {})
    if module:
        try:
            flow = dict(module["fm_cfg"]["params"])
            network = dict(flow["net_cfg"]["params"])
        except (KeyError, TypeError) as error:
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
    step = settings.get("noising_step", -1)
    sigma = 1.0 if from_noise else cosine_sigma(step / (DIFFUSION_STEPS - 1)) if step > 0 else 0.0
    takes_context = from_noise or bool(settings.get("concat_context"))
    training = {"source": f"converted from {name}", "weights": "online" if online else "moving average"}
    try:
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
    except CheckpointError as error:
        raise CheckpointError(f"{name}: its settings cannot be imported: {error}") from error


def _load_weights(network: UNet, state: Mapping[str, Any], name: str, prefix: str) -> None:
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if not weights:
        other = "--online" if prefix == EMA_PREFIX else "no --online"
        raise CheckpointError(f"{name} has no weights {prefix}*: try {other}")
    expected = {k: v.shape for k, v in network.state_dict().items()}
    for key in expected.keys() | weights.keys():
        found = weights.get(key)
        if not isinstance(found, Tensor) or key not in expected or found.shape != expected[key]:
            raise CheckpointError(f"{name}: the weight {prefix}{key} does not fit the settings' network")
    network.load_state_dict({k: v.float() for k, v in weights.items()})


class _Inert:
    """Stand-in for an OmegaConf container or leaf: keeps its state, does nothing."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def plain(self) -> Any:
        state = vars(self)
        return _plain(state["_content"] if "_content" in state else state.get("_val"))


def _plain(value: Any) -> Any:
    """Containers of any make → dict and list."""
    if isinstance(value, _Inert):
        return value.plain()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _read_pickle(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path.name} is not a torch checkpoint (or only part of one)")
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins: list[Any] = [_stand_in(name, path.name) for name in names]
        with torch.serialization.safe_globals(stand_ins):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        OSError,
        zipfile.BadZipFile,
    ) as error:
        raise CheckpointError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{path.name} is not a Lightning checkpoint")
    return data


def _stand_in(name: str, file: str) -> tuple[Any, str]:
    """What the restricted reader shall use for a class that the file names."""
    module, _, attribute = name.rpartition(".")
    if module.split(".")[0] == "omegaconf":
        return type(attribute, (_Inert,), {}), name
    if name == "typing.Any":
        return typing.Any, name
    if name == "collections.defaultdict":
        return collections.defaultdict, name
    if module in ("builtins", "__builtin__") and attribute in HARMLESS_BUILTINS:
        return getattr(builtins, attribute), name
    raise CheckpointError(f"{file} wants to run {name}, which is not allowed: it is not opened")
