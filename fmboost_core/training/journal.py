"""What a run tells of itself: numbers as CSV, as TensorBoard's events where that is installed, as curves."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..safetensors_file import atomic_write

CURVES = "curves.png"


class Journal:
    """Tables of a run, one file each: `folder/NAME.csv`, with a column `step`.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._events = _tensorboard(folder)

    def add(self, table: str, step: int, values: Mapping[str, float]) -> None:
        """Append a row; it replaces those from this step on, of a run that was cut after its last save."""
        path = self.folder / f"{table}.csv"
        rows = [row for row in read_table(path) if int(row["step"]) < step]
        rows.append({"step": str(step)} | {name: f"{value:.6g}" for name, value in values.items()})
        with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[-1].keys(), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"{table}/{name}", value, step)

    def draw(self) -> None:
        """Draw every table's columns over the steps into `curves.png`, if matplotlib is installed."""
        try:
            import matplotlib
        except ImportError:
            return
        matplotlib.use("agg")
        from matplotlib import pyplot as plt

        tables = {path.stem: read_table(path) for path in sorted(self.folder.glob("*.csv"))}
        columns = [(t, c) for t, rows in tables.items() if rows for c in rows[0] if c != "step"]
        if not columns:
            return
        figure, grid = plt.subplots(1, len(columns), figsize=(3.2 * len(columns), 2.8), layout="constrained")
        for axes, (table, column) in zip([grid] if len(columns) == 1 else grid, columns, strict=True):
            rows = tables[table]
            axes.plot([int(r["step"]) for r in rows], [float(r[column] or "nan") for r in rows])
            axes.set_title(f"{table}: {column}", fontsize=8)
            axes.set_xlabel("step", fontsize=8)
        with atomic_write(self.folder / CURVES) as temporary:
            figure.savefig(temporary, dpi=100, format="png")
        plt.close(figure)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none if there is no file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
