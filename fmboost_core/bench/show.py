"""A benchmark for people: a table, and curves of time and memory against size."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import InputError
from ..safetensors_file import atomic_write
from .measure import Bench

MEBIBYTE = 1 << 20


def as_markdown(bench: Bench) -> str:
    """The tables, which read well as plain text, too."""
    machine = bench.machine
    lines = [
        f"{bench.model}, {bench.source}² → {2 * bench.source}² pixels, on {machine['name']}"
        f" ({machine['device']}, {machine['threads']} threads, {machine['vector']},"
        f" {machine['clock_mhz'] or '?'} MHz, torch {machine['torch']}).",
        "",
        "| | precision | median | fastest to slowest | runs | memory |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in bench.rows:
        steps = f", {row.steps} step{'s' if row.steps != 1 else ''}" if row.steps else ""
        name = f"{row.name}{steps}{', compiled' if row.compiled else ''}"
        memory = f"{row.memory / MEBIBYTE:.0f} MiB" if row.memory else ""
        timing = row.timing
        lines.append(
            f"| {name} | {row.precision} | {_time(timing.median)} | {_time(timing.fastest)} to"
            f" {_time(timing.slowest)} | {timing.runs} | {memory} |"
        )
    lines += ["", "| ratio | |", "|---|---:|"]
    for name, value in bench.ratios.items():
        text = f"{value:.0f} ×" if name.endswith("unet_vs_boost") else f"{100 * value:.3g} %"
        lines.append(f"| {name.replace('_', ' ')} | {text} |")
    lines.append(f"| network's speed, of a large convolution's | {100 * bench.peak_fraction:.0f} % |")
    if bench.sizes:
        lines += ["", "| picture, one step | time | a megapixel | memory |", "|---|---:|---:|---:|"]
    for point in bench.sizes:
        each = point.timing.median / (point.side / 1024) ** 2
        lines.append(
            f"| {point.side}² | {_time(point.timing.median)} | {_time(each)} |"
            f" {point.memory / MEBIBYTE:.0f} MiB |"
        )
    lines += [f"\nLeft out: {what}." for what in bench.left_out]
    return "\n".join(lines)


def _time(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.3g} s" if milliseconds >= 1000 else f"{milliseconds:.3g} ms"


def require_plotting() -> None:
    """Raise `InputError` if matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib: pip install 'fmboost[eval]'")


def plot(bench: Bench, path: Path) -> None:
    """Time and memory against the picture's area, as a picture. Needs matplotlib."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    sides = [point.side for point in bench.sizes]
    areas = [(side / 1024) ** 2 for side in sides]
    curves = {
        "time, seconds": [point.timing.median / 1000 for point in bench.sizes],
        "peak memory, MiB": [point.memory / MEBIBYTE for point in bench.sizes],
    }
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axes, (title, values) in zip(panels, curves.items(), strict=True):
        axes.loglog(areas, values, "o-")
        middle = len(areas) // 2
        line = [values[middle] * area / areas[middle] for area in areas]
        axes.loglog(areas, line, ":", color="0.6", label="in proportion to the area")
        axes.set_xticks(areas, [f"{side}²" for side in sides])
        axes.minorticks_off()
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(f"{bench.model}, ×2 in one step, {bench.machine['name']}")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format=path.suffix[1:] or "png")
    plt.close(figure)
