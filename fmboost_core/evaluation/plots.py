"""Curves: quality against cost, steps and detail, as SVG."""

from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from .metrics import METRICS, Metric
from .results import Evaluation
from .table import boosts

SHOWN = ("psnr", "haarpsi", "frechet", "energy_0")
REFERENCES = ("latent-bicubic", "vae-bicubic", "pixel-bicubic", "ceiling")
COST_PLOT = "Quality against cost"
WIDTH, HEIGHT = 12.0, 3.2  # inches


def plots(evaluation: Evaluation) -> dict[str, str]:
    """Title → SVG of the plots for which there are enough settings."""
    found = {COST_PLOT: _cost_plot(evaluation)}
    ours = boosts(evaluation)
    for along, across in (("steps", "detail"), ("detail", "steps")):
        if len({getattr(row, along) for row in ours}) > 1:
            found[f"Quality against {along}"] = _curves(evaluation, along, across)
    return found


def _metrics(evaluation: Evaluation) -> list[Metric]:
    return [METRICS[name] for name in SHOWN if name in evaluation.methods[-1].metrics]


def _cost_plot(evaluation: Evaluation) -> str:
    def draw(axes: Axes, metric: Metric) -> None:
        for row in evaluation.methods:
            if metric.name in row.metrics and row.name != "ceiling":
                axes.plot(
                    max(row.cost.milliseconds, 0.1), row.metrics[metric.name].value,
                    "o" if row.model else "x", color="C0" if row.model else "0.5",
                )  # fmt: skip
                axes.annotate(
                    f"d {row.detail:g}, {row.steps}" if row.model else row.name,
                    (max(row.cost.milliseconds, 0.1), row.metrics[metric.name].value),
                    fontsize=5, xytext=(2, 2), textcoords="offset points",
                )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("ms for one picture")

    return _figure(evaluation, draw)


def _curves(evaluation: Evaluation, along: str, across: str) -> str:
    """A line for each model and each value of the setting `across`, over the setting `along`."""
    ours = boosts(evaluation)

    def draw(axes: Axes, metric: Metric) -> None:
        for model, value in dict.fromkeys((row.model, getattr(row, across)) for row in ours):
            line = [row for row in ours if (row.model, getattr(row, across)) == (model, value)]
            line.sort(key=lambda row: getattr(row, along))
            places = [getattr(row, along) for row in line]
            values = [row.metrics[metric.name].value for row in line]
            axes.plot(places, values, "o-", markersize=3, label=f"{model}, {across} {value:g}")
        for row in evaluation.methods:
            if row.name in REFERENCES and metric.name in row.metrics:
                axes.axhline(row.metrics[metric.name].value, color="0.6", linestyle=":", linewidth=1)
                axes.annotate(
                    row.name, (1, row.metrics[metric.name].value), xycoords=("axes fraction", "data"),
                    fontsize=5, ha="right", va="bottom", color="0.4",
                )  # fmt: skip
        axes.set_xlabel(along)

    return _figure(evaluation, draw, legend=True)


def _figure(evaluation: Evaluation, draw: Callable[[Axes, Metric], None], *, legend: bool = False) -> str:
    metrics = _metrics(evaluation)
    # A fixed salt and no date: the same numbers give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "fmboost", "font.size": 8}):
        figure, grid = plt.subplots(1, len(metrics), figsize=(WIDTH, HEIGHT), layout="constrained")
        for axes, metric in zip(grid, metrics, strict=True):
            draw(axes, metric)
            axes.set_title(metric.title + {"high": " ↑", "low": " ↓", "one": " → 1"}[metric.best], fontsize=8)
        if legend:
            lines = grid[0].get_legend_handles_labels()
            figure.legend(*lines, loc="outside lower center", ncols=4, fontsize=6)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        plt.close(figure)
    return buffer.getvalue()
