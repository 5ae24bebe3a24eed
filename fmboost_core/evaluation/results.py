"""From measurements to answers: tables with intervals, and what may be called better."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .bootstrap import (
    COSTLY_RESAMPLES,
    Interval,
    interval,
    mean_of,
    ratio_of,
    resampling_weights,
)
from .cost import Cost
from .frechet import CropDistance, FrechetDistance, Moments
from .methods import Method
from .metrics import ENERGY, METRICS
from .records import Record

ORIGINAL = "original"  # key of the original's own measurements
PLAIN = ("psnr", "ssim", "ms_ssim", "haarpsi", "lpips", "colour_shift", "latent_mse")


@dataclass(frozen=True)
class MethodResult:
    """One row of the table.

    Attributes:
        name, title: of the method.
        model: name of the boosting model, None for a baseline.
        detail, steps: of a boost.
        metrics: by name; a metric that the method has not (the latent of a pixel method) is left out.
        cost: on the picture of median size.
    """

    name: str
    title: str
    model: str | None
    detail: float | None
    steps: int | None
    metrics: dict[str, Interval]
    cost: Cost


@dataclass(frozen=True)
class Comparison:
    """A boost against a baseline, picture by picture.

    Attributes:
        method, baseline: names.
        metric: name.
        difference: the boost's value minus the baseline's (of |log2| where 1 is best).
        verdict: "better" or "worse" where the interval excludes 0, else "undecided".
    """

    method: str
    baseline: str
    metric: str
    difference: Interval
    verdict: str


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation found.

    Attributes:
        context: what two people must share to get the same numbers: protocol, versions, hashes, options.
        pictures: how many were measured.
        crops: how many enter the Fréchet distance.
        left_out: picture → why.
        remarks: picture → what was done to it beside reading.
        methods: the table.
        comparisons: each boost against each other method that does not see the original.
        baseline: name of the chosen one.
        cost_picture: width and height of the picture on which cost was measured, and the machine.
        gains: picture → PSNR of the first boost minus that of the chosen baseline, largest first.
    """

    context: dict[str, Any]
    pictures: int
    crops: int
    left_out: dict[str, str]
    remarks: dict[str, str]
    methods: list[MethodResult]
    comparisons: list[Comparison]
    baseline: str
    cost_picture: dict[str, Any]
    gains: dict[str, float]

    def method(self, name: str) -> MethodResult:
        return next(m for m in self.methods if m.name == name)

    def comparison(self, method: str, baseline: str, metric: str) -> Comparison | None:
        wanted = (method, baseline, metric)
        found = (c for c in self.comparisons if (c.method, c.baseline, c.metric) == wanted)
        return next(found, None)

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is not finite (the PSNR of equal pictures) becomes null."""
        return _finite(dataclasses.asdict(self))


def summarise(
    records: dict[str, Record], methods: Sequence[Method], costs: dict[str, Cost], baseline: str, **facts: Any
) -> Evaluation:
    """Build the tables.

    Args:
        records: of every measured picture, by name.
        methods: in the table's order.
        costs: by method key.
        baseline: name of the method that `gains` refers to.
        facts: the other attributes of `Evaluation`.
    """
    sample = _Sample(list(records.values()))
    values = {m.name: sample.values(m) for m in methods}
    results = [
        MethodResult(
            m.name, m.title, m.model, m.detail, m.steps,
            {metric: interval(v) for metric, v in values[m.name].items()}, costs[m.key],
        )
        for m in methods
    ]  # fmt: skip
    boosts = [m for m in methods if m.model]
    rivals = [m for m in methods if not m.sees_original]
    comparisons = [
        _compare(boost.name, rival.name, metric, values)
        for boost in boosts
        for rival in rivals
        if rival.name != boost.name
        for metric in METRICS
        if metric in values[boost.name] and metric in values[rival.name]
    ]
    keys = {m.name: m.key for m in methods}
    gains: dict[str, float] = {}
    if boosts:
        gains = {
            picture: r.metrics[boosts[0].key]["psnr"] - r.metrics[keys[baseline]]["psnr"]
            for picture, r in records.items()
        }
        gains = dict(sorted(gains.items(), key=lambda item: -item[1]))
    return Evaluation(
        pictures=len(records), crops=sample.crops, methods=results, comparisons=comparisons,
        baseline=baseline, gains=gains, **facts,
    )  # fmt: skip


class _Sample:
    """The measured pictures, and their resamples, under which every statistic is computed alike."""

    def __init__(self, rows: list[Record]) -> None:
        self.rows = rows
        self.weights = resampling_weights(len(rows))
        self.originals = [r.metrics[ORIGINAL] for r in rows]
        self.crops = 0
        self.crop_distance: CropDistance | None = None
        if all(f"{ORIGINAL}/tiny" in r.features for r in rows):
            crops = self._features(ORIGINAL, "tiny")
            self.crops = sum(map(len, crops))
            self.crop_distance = CropDistance(crops, self.weights[: 1 + COSTLY_RESAMPLES])
        self.inception: FrechetDistance | None = None
        if all(f"{ORIGINAL}/inception" in r.features for r in rows):
            self.inception = FrechetDistance(self._inception_moments(ORIGINAL))

    def values(self, method: Method) -> dict[str, Tensor]:
        """Metric → its value over all pictures, followed by those over the resamples."""
        columns = [r.metrics[method.key] for r in self.rows]
        found: dict[str, Tensor] = {}
        for metric in PLAIN:
            if all(metric in values for values in columns):
                found[metric] = mean_of(_column(columns, metric), self.weights)
        for metric in ENERGY:
            pair = _column(columns, metric), _column(self.originals, metric)
            found[metric] = ratio_of(*pair, self.weights)
        if self.crop_distance is not None:
            found["frechet"] = self.crop_distance(self._features(method.key, "tiny"))
        if self.inception is not None:
            found["inception_fid"] = self.inception(self._inception_moments(method.key))
        return {name: found[name] for name in METRICS if name in found}

    def _features(self, key: str, kind: str) -> list[Tensor]:
        return [r.features[f"{key}/{kind}"] for r in self.rows]

    def _inception_moments(self, key: str) -> Moments:
        # Covariances of 2048 features are too large to resample.
        return Moments(self._features(key, "inception"), self.weights[:1])


def _column(rows: list[dict[str, float]], metric: str) -> Tensor:
    return torch.tensor([row[metric] for row in rows], dtype=torch.float64)


def _compare(boost: str, rival: str, metric: str, values: dict[str, dict[str, Tensor]]) -> Comparison:
    ours, theirs = values[boost][metric], values[rival][metric]
    reading = METRICS[metric]
    between = interval(reading.distance(ours) - reading.distance(theirs))
    verdict = "undecided"
    if between.excludes_zero:
        verdict = "better" if (between.value > 0) == (reading.best == "high") else "worse"
    return Comparison(boost, rival, metric, between, verdict)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
