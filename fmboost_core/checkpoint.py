"""FMBoost's model file: one `.safetensors` whose metadata says all that is needed to use it.

    {"fmboost": "{\\"format\\": 1, \\"network\\": …, \\"config\\": {…}, \\"spec\\": {…}}"}

Nothing is guessed from file names, nothing is unpickled, and nothing is allocated before the header
has been found consistent.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .booster import Booster
from .errors import CheckpointError, InputError
from .foreign import describe_foreign
from .networks import build, network_name
from .networks.velocity import VelocityNetwork
from .safetensors_file import open_safetensors, read_tensors, write_tensors
from .spec import BoosterSpec

METADATA_KEY = "fmboost"
FORMAT = 1
LARGEST_METADATA = 1 << 20  # characters
WEIGHT_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class CheckpointInfo:
    """What a model file says of itself, read from its header alone.

    Attributes:
        path: the file.
        network: name of the network's class.
        config: its configuration.
        spec: how to use it.
        parameters: how many.
        dtype: of the stored weights, the most precise one.
        bytes: size of the file.
        receptive_field: in latent pixels, None if unbounded.
    """

    path: Path
    network: str
    config: dict[str, Any]
    spec: BoosterSpec
    parameters: int
    dtype: torch.dtype
    bytes: int
    receptive_field: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        data = dataclasses.asdict(self)
        return data | {"path": str(self.path), "dtype": str(self.dtype).removeprefix("torch.")}


def save(
    path: str | Path, booster: Booster, *, dtype: torch.dtype = torch.bfloat16, overwrite: bool = True
) -> None:
    """Write a booster's model file, whole or not at all.

    Args:
        path: ends in `.safetensors`.
        booster: network and spec.
        dtype: of the stored weights.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: the file cannot be written, or exists and may not be replaced.
    """
    description = {
        "format": FORMAT,
        "network": network_name(booster.network),
        "config": dataclasses.asdict(booster.network.config),
        "spec": booster.spec.to_json(),
    }
    weights = {k: v.to(dtype) for k, v in booster.network.state_dict().items()}
    write_tensors(path, weights, {METADATA_KEY: json.dumps(description)}, overwrite=overwrite)


def inspect(path: str | Path) -> CheckpointInfo:
    """Read and check a model file's header, without its weights.

    Raises:
        CheckpointError: the file is not a usable FMBoost model; the message names what it is.
    """
    return _inspect(Path(path))[0]


def load(
    path: str | Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu",
    compiled: bool = False,
) -> Booster:  # fmt: skip
    """Build the booster that a model file describes.

    Args:
        path: a file written by `save`.
        dtype: precision to run at; by default that of the file.
        device: where to put the network.
        compiled: as `Booster`.

    Raises:
        CheckpointError: as `inspect`.
    """
    info, network = _inspect(Path(path))
    weights, _ = read_tensors(path)
    _check_finite(info.path, weights)
    network.load_state_dict(weights, assign=True)
    network.requires_grad_(False)
    network.to(device=device, dtype=dtype or info.dtype)
    return Booster(network, info.spec, compiled=compiled)


def _inspect(path: Path) -> tuple[CheckpointInfo, VelocityNetwork]:
    """The file's description, and its network without weights (on the meta device)."""
    try:
        with open_safetensors(path) as file:
            shapes = {key: file.get_slice(key) for key in file.keys()}
            header = {k: (tuple(s.get_shape()), s.get_dtype()) for k, s in shapes.items()}
            metadata = file.metadata() or {}
    except InputError as error:
        raise CheckpointError(str(error)) from error
    if METADATA_KEY not in metadata:
        raise CheckpointError(f"{path.name} is not an FMBoost model: {describe_foreign(header, metadata)}")
    try:
        network, config, spec = _read_description(metadata[METADATA_KEY])
        with torch.device("meta"):
            module = build(network, config, most_blocks=len(header))
        _check_weights(module, header, spec)
    except CheckpointError as error:
        raise CheckpointError(f"{path.name}: {error}") from error
    types = [WEIGHT_TYPES[dtype] for _, dtype in header.values()]
    info = CheckpointInfo(
        path=path,
        network=network,
        config=config,
        spec=spec,
        parameters=sum(p.numel() for p in module.parameters()),
        dtype=torch.float32 if torch.float32 in types else types[0],
        bytes=path.stat().st_size,
        receptive_field=module.receptive_field,
    )
    return info, module


def _read_description(text: str) -> tuple[str, dict[str, Any], BoosterSpec]:
    damaged = "the model's description is damaged"
    if len(text) > LARGEST_METADATA:
        raise CheckpointError(f"{damaged}: it is {len(text)} characters long")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{damaged}: it is not JSON") from error
    if not isinstance(data, dict) or "format" not in data:
        raise CheckpointError(f"{damaged}: it has no format version")
    if data["format"] != FORMAT:
        raise CheckpointError(
            f"the model has format version {data['format']!r}, this FMBoost reads {FORMAT}: update FMBoost"
        )
    network, config, spec = (data.get(key) for key in ("network", "config", "spec"))
    if not (isinstance(network, str) and isinstance(config, dict) and isinstance(spec, dict)):
        raise CheckpointError(f"{damaged}: network, config or spec is missing")
    return network, config, BoosterSpec.from_json(spec)


def _check_weights(
    module: VelocityNetwork, header: dict[str, tuple[tuple[int, ...], str]], spec: BoosterSpec
) -> None:
    if module.config.latent_channels != spec.latent_family.channels:
        raise CheckpointError(
            f"the network has {module.config.latent_channels} latent channels, but its family"
            f" {spec.family} has {spec.latent_family.channels}: the file is damaged"
        )
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    claimed = sum(map(math.prod, expected.values()))
    held = sum(math.prod(shape) for shape, _ in header.values())
    if claimed != held:
        raise CheckpointError(
            f"the model claims {claimed:,} parameters but the file holds {held:,}: it is damaged;"
            " copy or download it again"
        )
    for key, shape in expected.items():
        found, dtype = header.get(key, (None, None))
        if found != shape:
            raise CheckpointError(
                f"the weight {key} is {found or 'missing'}, not {shape}: the file is damaged"
            )
        if dtype not in WEIGHT_TYPES:
            raise CheckpointError(f"the weight {key} is stored as {dtype}: use {', '.join(WEIGHT_TYPES)}")


def _check_finite(path: Path, weights: dict[str, Tensor]) -> None:
    for key, value in weights.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path.name}: the weight {key} is not finite: copy or download it again")
