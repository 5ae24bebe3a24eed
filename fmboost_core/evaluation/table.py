"""An evaluation as rows of text, for the console, the report and the benchmark page alike."""

from __future__ import annotations

from .bootstrap import Interval
from .metrics import METRICS, Metric
from .results import Comparison, Evaluation, MethodResult

NOT_MEASURED = "–"


def number(value: float, metric: Metric) -> str:
    return f"{value:.{metric.digits}f}"


def with_interval(found: Interval, metric: Metric, *, signed: bool = False) -> str:
    """`23.59 [22.10, 25.02]`; without brackets where nothing was resampled."""
    sign = "+" if signed else ""
    texts = [f"{v:{sign}.{metric.digits}f}" for v in (found.value, found.low, found.high) if v is not None]
    return texts[0] if len(texts) == 1 else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def measured(evaluation: Evaluation) -> list[Metric]:
    """The metrics that any method has, in their order."""
    return [m for m in METRICS.values() if any(m.name in row.metrics for row in evaluation.methods)]


def cells(row: MethodResult, metrics: list[Metric]) -> list[str]:
    """A row's values, without intervals."""
    found = [row.metrics.get(m.name) for m in metrics]
    return [NOT_MEASURED if v is None else number(v.value, m) for v, m in zip(found, metrics, strict=True)]


def costs(row: MethodResult) -> list[str]:
    """Network evaluations, milliseconds and megabytes of a row."""
    evaluations = row.cost.evaluations
    return [
        NOT_MEASURED if evaluations is None else str(evaluations),
        f"{row.cost.milliseconds:.1f}" if row.cost.milliseconds < 10 else f"{row.cost.milliseconds:.0f}",
        f"{row.cost.peak_bytes / 1e6:.0f}",
    ]


COSTS = ("evaluations", "ms", "peak MB")


def boosts(evaluation: Evaluation) -> list[MethodResult]:
    return [row for row in evaluation.methods if row.model]


def rivals(evaluation: Evaluation, boost: MethodResult) -> list[MethodResult]:
    """The baselines that do not see the original."""
    against = {c.baseline for c in evaluation.comparisons if c.method == boost.name}
    return [row for row in evaluation.methods if row.name in against and not row.model]


def standing(evaluation: Evaluation, boost: MethodResult, metric: Metric) -> str:
    """How a boost stands in one metric: against how many baselines it is better, and which it is not."""
    found = [evaluation.comparison(boost.name, r.name, metric.name) for r in rivals(evaluation, boost)]
    known = [c for c in found if c is not None]
    better = [c for c in known if c.verdict == "better"]
    text = f"better than {len(better)} of {len(known)}"
    others = [describe(c, metric) for c in known if c.verdict != "better"]
    return text if not others else f"{text}; {'; '.join(others)}"


def describe(comparison: Comparison, metric: Metric) -> str:
    """`worse than vae-bicubic by −0.43 [−0.67, −0.18]`."""
    amount = with_interval(comparison.difference, metric, signed=True)
    if comparison.verdict == "undecided":
        return f"undecided against {comparison.baseline}: {amount}"
    return f"{comparison.verdict} than {comparison.baseline}: {amount}"


def as_text(evaluation: Evaluation) -> str:
    """The table in columns, then how each boost differs from the chosen baseline."""
    metrics = measured(evaluation)
    header = ["method", *(m.title.split(",")[0].replace(" c/px", "") for m in metrics), *COSTS]
    for index, metric in enumerate(metrics, 1):
        if metric.best == "one":
            header[index] = f"E{metric.name[-1]}"
    rows = [header, *([row.name, *cells(row, metrics), *costs(row)] for row in evaluation.methods)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        values = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([f"{row[0]:<{widths[0]}}", *values]))
    lines.append("")
    for boost in boosts(evaluation):
        lines.append(f"{boost.name} against {evaluation.baseline}:")
        for metric in metrics:
            comparison = evaluation.comparison(boost.name, evaluation.baseline, metric.name)
            if comparison is not None:
                amount = with_interval(comparison.difference, metric, signed=True)
                lines.append(f"  {metric.title}: {amount}  {comparison.verdict}")
    lines.append("")
    lines.append(summary(evaluation))
    return "\n".join(lines)


def summary(evaluation: Evaluation) -> str:
    """How many pictures were measured, and which were not or not as they are."""
    lines = [f"{evaluation.pictures} pictures, {evaluation.crops} crops, {len(evaluation.left_out)} left out"]
    lines += [f"left out: {name}: {why}" for name, why in evaluation.left_out.items()]
    lines += [f"{name}: {what}" for name, what in evaluation.remarks.items()]
    return "\n".join(lines)
