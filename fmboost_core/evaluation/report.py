"""The evaluation as files: `results.json`, a report that opens from disk, and the benchmark page."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from ..safetensors_file import atomic_write
from . import table
from .bootstrap import COSTLY_RESAMPLES, RESAMPLES
from .frechet import CROP, GRID
from .metrics import BLOCK, SMALLEST_SIDE
from .panels import Panel
from .plots import COST_PLOT, plots
from .results import Evaluation


def write_report(evaluation: Evaluation, panels: list[Panel], out: str | Path) -> dict[str, Path]:
    """Write `results.json`, `report.html`, and `benchmark.md` with its curve, each whole or not at all.

    Returns:
        What each file is → where it lies.
    """
    drawn = plots(evaluation)
    facts = {
        "evaluation": evaluation, "panels": panels, "plots": drawn, "table": table,
        "metrics": table.measured(evaluation), "data_url": _data_url,
        "resamples": RESAMPLES, "costly_resamples": COSTLY_RESAMPLES, "crop": CROP, "grid": GRID,
        "block": BLOCK, "smallest": SMALLEST_SIDE,
    }  # fmt: skip
    texts = {
        "results": ("results.json", json.dumps(evaluation.to_json(), indent=2) + "\n"),
        "report": ("report.html", _render("report.html.j2", facts)),
        "benchmark": ("benchmark.md", _render("benchmark.md.j2", facts)),
        "curve": ("quality_cost.svg", drawn[COST_PLOT]),
    }
    paths = {what: Path(out) / name for what, (name, _) in texts.items()}
    for what, (_, text) in texts.items():
        with atomic_write(paths[what]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


def _render(name: str, facts: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(facts)


def _data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
