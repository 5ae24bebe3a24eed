"""Import checkpoints of the reference code (CompVis/fm-boosting), which are Lightning pickles.

This is the one place that opens a pickle, and only with torch's restricted reader, which here is
restricted further: a file may name tensors and plain containers, and nothing that allocates on demand. The
reference keeps its settings in OmegaConf containers; inert stand-ins take the place of those classes, so no
code of the file's choosing runs and OmegaConf need not be installed. The network is built without memory,
and gets the file's own tensors once they are found to fit.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import pickletools
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
from .networks import build
from .networks.unet import config_from_reference
from .networks.velocity import VelocityNetwork
from .spec import BoosterSpec

log = logging.getLogger(__name__)

EMA_PREFIX = "ema_model.ema_model.net."
ONLINE_PREFIX = "model.net."
DIFFUSION_STEPS = 1000  # the reference's schedule has this many entries, t from 0 to 1 inclusive
LARGEST_SETTINGS = 10_000  # entries; the reference has some fifty
# What a checkpoint may name besides OmegaConf's classes and Python's own types. Torch's reader would also
# build bytearrays and bare tensors of any size.
REBUILDERS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "collections.OrderedDict")
STORAGES = tuple(
    f"torch.{kind}Storage"
    for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
)
TYPES = ("dict", "list", "tuple", "int", "float", "bool", "str", "set")
OLD_NAMES = {"__builtin__.long": "builtins.int", "__builtin__.unicode": "builtins.str"}  # in old pickles

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
    weights = _weights(data["state_dict"], ONLINE_PREFIX if online else EMA_PREFIX, path)
    with torch.device("meta"):
        network = build("unet", dataclasses.asdict(shape), most_blocks=len(weights))
    _load_weights(network, weights, path.name)
    return Booster(network.requires_grad_(False), spec)


def _settings(stored: Any, overrides: Mapping[str, Any], name: str) -> tuple[dict[str, Any], ...]:
    """Arguments of the reference's module, of its flow and of its network."""
    if stored:
        try:
            module = dict(_Plain()(stored))
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


class _Inert:
    """Stand-in for an OmegaConf container or leaf: keeps its state, does nothing."""

    def __init__(self, *args: Any) -> None: ...

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _Plain:
    """Containers of any make → dict and list, unless there is no end to them."""

    def __init__(self) -> None:
        self.entries = 0

    def __call__(self, value: Any) -> Any:
        self.entries += 1
        if self.entries > LARGEST_SETTINGS:  # a list that holds another twice, and so on, doubles each time
            raise ValueError(f"there are more than {LARGEST_SETTINGS} settings")
        if isinstance(value, _Inert):
            state = vars(value)
            return self(state["_content"] if "_content" in state else state.get("_val"))
        if isinstance(value, Mapping):
            return {k: self(v) for k, v in value.items() if isinstance(k, str)}
        if isinstance(value, (list, tuple)):
            return [self(v) for v in value]
        return value


def _read_pickle(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path.name} is not a torch checkpoint (or only part of one)")
    try:
        stand_ins: list[Any] = [_stand_in(name, path.name) for name in _names_in(path)]
        with torch.serialization.safe_globals([s for s in stand_ins if s is not None]):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path.name} cannot be read: {reason}") from error
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{path.name} is not a Lightning checkpoint")
    return data


def _names_in(path: Path) -> set[str]:
    """The classes and functions that the archive's pickle names, which is read but not followed."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        held = sum(entry.file_size for entry in entries)
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or held > path.stat().st_size:
            raise CheckpointError(f"{path.name} is packed in a way that torch never packs: it is not opened")
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError(f"{path.name} is not a torch checkpoint: it holds {len(pickles)} pickles")
        operations = pickletools.genops(archive.read(pickles[0]))
        return {
            str(arg).replace(" ", ".", 1) for operation, arg, _ in operations if operation.name == "GLOBAL"
        }


def _stand_in(name: str, file: str) -> tuple[Any, str] | None:
    """What the restricted reader shall use for a name; None for what it may build itself."""
    module, _, attribute = OLD_NAMES.get(name, name).rpartition(".")
    if name in REBUILDERS or name in STORAGES:
        return None
    if name == "typing.Any":
        return typing.Any, name
    if name == "collections.defaultdict":
        return collections.defaultdict, name
    # Python's own types stand in settings as what a value must be; nothing needs to be made of them.
    if module.split(".")[0] == "omegaconf":
        return type(attribute, (_Inert,), {}), name
    if module in ("builtins", "__builtin__") and attribute in TYPES:  # under its old name, too
        return type(attribute, (_Inert,), {}), f"builtins.{attribute}"
    raise CheckpointError(f"{file} wants to run {name}, which is not allowed: it is not opened")
