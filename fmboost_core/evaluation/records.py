"""Measurements on disk, so that an evaluation which was cut goes on, and one with more models adds to it.

    OUT/context.json                 what all measurements have in common
    OUT/costs.json                   what each method cost, on which machine and picture
    OUT/measurements/PICTURE.safetensors   one picture: metrics of each method, features of its crops

Each file is written whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..safetensors_file import atomic_write, read_tensors, write_tensors
from .cost import Cost


@dataclass
class Record:
    """What was measured on one picture.

    Attributes:
        picture: hash of its file.
        facts: for people and for the report, such as its size.
        metrics: method key → metric → value.
        features: method key and kind, joined by "/" → (crops, …).
    """

    picture: str
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    features: dict[str, Tensor] = field(default_factory=dict)

    def has(self, key: str, metrics: set[str], features: set[str]) -> bool:
        """Whether all of these were measured for a method."""
        known = {kind for k in self.features for of, _, kind in [k.rpartition("/")] if of == key}
        return metrics <= set(self.metrics.get(key, ())) and features <= known


class Records:
    """The measurements in a folder.

    Args:
        folder: made if it is not there.
        context: what all measurements must have in common, JSON-ready.

    Raises:
        InputError: the folder holds measurements made under another context.
    """

    def __init__(self, folder: Path, context: dict[str, Any]) -> None:
        self.folder = folder / "measurements"
        self.cost_file = folder / "costs.json"
        marker = folder / "context.json"
        if marker.exists():
            held = _read_json(marker)
            changed = [k for k in {**context, **held} if held.get(k) != context.get(k)]
            if changed:
                raise InputError(
                    f"{folder} holds an evaluation with another {', '.join(changed)}: choose another --out"
                )
        else:
            _write_json(marker, context)

    def read(self, name: str, picture: str) -> Record:
        """The record of a picture; an empty one if there is none, or if the file has changed since."""
        path = self._path(name)
        if path.exists():
            features, metadata = read_tensors(path)
            data = json.loads(metadata["record"])
            if data["picture"] == picture:
                return Record(**data, features=features)
        return Record(picture)

    def write(self, name: str, record: Record) -> None:
        data = {"picture": record.picture, "facts": record.facts, "metrics": record.metrics}
        write_tensors(self._path(name), record.features, {"record": json.dumps(data)})

    def read_costs(self, place: str) -> dict[str, Cost]:
        """Costs by method key, as measured at a place (a picture on a machine)."""
        if not self.cost_file.exists():
            return {}
        return {key: Cost(**cost) for key, cost in _read_json(self.cost_file).get(place, {}).items()}

    def write_costs(self, place: str, costs: dict[str, Cost]) -> None:
        held = _read_json(self.cost_file) if self.cost_file.exists() else {}
        held[place] = {key: dataclasses.asdict(cost) for key, cost in costs.items()}
        _write_json(self.cost_file, held)

    def _path(self, name: str) -> Path:
        return self.folder / (name.replace("/", "__") + ".safetensors")


def _write_json(path: Path, data: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2), encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is damaged: choose another --out") from error
