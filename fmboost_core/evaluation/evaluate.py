"""The evaluation: every picture by every method, measured once, and what it comes to."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import FMBoostError, InputError, OutputError
from ..images import find_images, read_picture
from ..processes import Processes
from ..tiling import is_out_of_memory
from ..vae import sha256
from .cost import Cost, measure_cost
from .example import Example, make_example, read_scale
from .frechet import crop_features, inception_features
from .methods import Method
from .metrics import ENERGY, as_saved, measure, octave_energy
from .records import Record, Records
from .results import ORIGINAL, Evaluation, summarise
from .setup import Settings, Setup, prepare

log = logging.getLogger(__name__)


@dataclass
class Evaluator:
    """One evaluation at work.

    Args:
        setup: methods, VAE and networks.
        out: folder of the measurements.
        processes: this process among those that measure together; alone by default.

    Attributes:
        left_out: picture → why it was not measured.
        remarks: picture → what was done to it beside reading.
    """

    setup: Setup
    out: Path
    processes: Processes = field(default_factory=Processes)
    left_out: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    @property
    def images(self) -> Path:
        return Path(self.setup.settings.images)

    def example(self, name: str) -> Example:
        """The picture made ready. Raises `InputError` if it cannot be used."""
        picture = read_picture(self.images / name)
        if picture.note:
            self.remarks[name] = picture.note
        settings = self.setup.settings
        return make_example(picture, read_scale(settings.scale), self.setup.vae, settings.largest_side)

    def run(self) -> Evaluation:
        """Measure what is not measured yet, each process its share, and summarise."""
        paths = find_images(self.images)
        hashes = {path.relative_to(self.images).as_posix(): sha256(path) for path in paths}
        records = Records(self.out, self.setup.context)
        if self.processes.count > 1:
            self._measure(records, dict(self.processes.share(list(hashes.items()))))
            self.processes.wait()
        measured = self._measure(records, hashes)
        if not measured:
            raise InputError(f"none of the {len(hashes)} pictures in {self.images} can be used")
        typical = _median_picture(measured)
        settings = self.setup.settings
        machine = _describe_machine(settings.device)
        context = self.setup.context | {
            "pictures": {"files": len(hashes), "sha256": _list_hash(hashes)},
            "models": {Path(p).stem: sha256(p) for p in settings.models},
            "solver": settings.solver,
            "seed": settings.seed,
        }
        return summarise(
            measured, self.setup.methods, self._costs(records, typical, machine), settings.baseline,
            context=context, left_out=self.left_out, remarks=self.remarks,
            cost_picture=machine | measured[typical].facts,
        )  # fmt: skip

    def _measure(self, records: Records, hashes: dict[str, str]) -> dict[str, Record]:
        """The records of these pictures (name → hash), but for those that cannot be used."""
        measured: dict[str, Record] = {}
        for name, digest in tqdm(hashes.items(), desc="evaluate", unit="picture", disable=None):
            if name in self.left_out:
                continue
            try:
                measured[name] = self._measure_picture(records, name, digest)
            except OutputError:  # that is about the folder, not about the picture
                raise
            except FMBoostError as error:
                self.left_out[name] = str(error)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self.left_out[name] = "out of memory: lower the largest side"
            if name in self.left_out:
                log.warning("left out: %s: %s", name, self.left_out[name])
        return measured

    def _measure_picture(self, records: Records, name: str, digest: str) -> Record:
        record = records.read(name, digest)
        missing = [m for m in self.setup.methods if not self._complete(record, m.key)]
        if missing:
            example = self.example(name)
            height, width = example.original.shape[-2:]
            record.facts = {"width": width, "height": height, "note": self.remarks.get(name, "")}
            with torch.inference_mode():
                if not self._complete(record, ORIGINAL):
                    energies = octave_energy(example.original)
                    record.metrics[ORIGINAL] = dict(zip(ENERGY, energies, strict=True))
                    self._add_features(record, ORIGINAL, example.original)
                for method in missing:
                    self._measure_method(record, method, example)
            records.write(name, record)
        elif record.facts["note"]:
            self.remarks[name] = record.facts["note"]
        return record

    def _complete(self, record: Record, key: str) -> bool:
        networks = set(self.setup.networks)
        metrics = set(ENERGY) | ({"lpips"} & networks if key != ORIGINAL else set())
        features = ({"tiny"} if self.setup.features is not None else set()) | ({"inception"} & networks)
        return record.has(key, metrics, features)

    def _measure_method(self, record: Record, method: Method, example: Example) -> None:
        pixels, latent = method.picture(example, self.setup.vae)
        pixels = as_saved(pixels)
        values = measure(pixels, example.original)
        if latent is not None:
            values["latent_mse"] = (latent - example.high).square().mean().item()
        if (lpips := self.setup.networks.get("lpips")) is not None:
            # As StyleGAN's projector: features whose squared distance is LPIPS.
            found, wanted = (
                lpips(255 * p, resize_images=False, return_lpips=True) for p in (pixels, example.original)
            )
            values["lpips"] = (found - wanted).square().sum().item()
        record.metrics[method.key] = values
        self._add_features(record, method.key, pixels)

    def _add_features(self, record: Record, key: str, pixels: Tensor) -> None:
        if self.setup.features is not None:
            record.features[f"{key}/tiny"] = crop_features(pixels, self.setup.features)
        if (inception := self.setup.networks.get("inception")) is not None:
            record.features[f"{key}/inception"] = inception_features(pixels, inception)

    def _costs(self, records: Records, typical: str, machine: dict[str, Any]) -> dict[str, Cost]:
        place = json.dumps([typical, machine])
        costs = records.read_costs(place)
        missing = [m for m in self.setup.methods if m.key not in costs]
        if missing:
            example = self.example(typical)
            for method in tqdm(missing, desc="cost", unit="method", disable=None):
                costs[method.key] = measure_cost(method, example)
            records.write_costs(place, costs)
        return costs


def evaluate(settings: Settings, out: str | Path) -> Evaluation:
    """Measure all methods on all pictures; what `out` holds already is not measured again.

    Args:
        settings: what to evaluate.
        out: folder of the measurements. Ctrl-C and a new call go on with the next picture; other
            models or settings add to it.

    Raises:
        InputError: an option, a model, the VAE or the folder cannot be used, or no picture can be.
    """
    return Evaluator(prepare(settings), Path(out)).run()


def _median_picture(measured: dict[str, Record]) -> str:
    area = {name: r.facts["width"] * r.facts["height"] for name, r in measured.items()}
    return sorted(area, key=lambda name: (area[name], name))[len(area) // 2]


def _describe_machine(device: str) -> dict[str, Any]:
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else f"{kind}, {platform.machine()}"
    return {"device": name, "threads": torch.get_num_threads()}


def _list_hash(hashes: dict[str, str]) -> str:
    lines = [f"{digest}  {name}" for name, digest in hashes.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
