"""What the terminal, the HTML page and the weekly report say of a comparison."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from barograph_server.batch.compare.performance import PeriodMetric
from barograph_server.batch.compare.report import (
    ATTENTION,
    HEADLINE_METRICS,
    SEVERITY,
    Comparison,
    FieldVerdicts,
    rows_by_period,
    unsliced_rows,
)
from barograph_server.phi_text import PHI
from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.baseline.bins import OTHER_BIN
from barograph_server.terminal import percentage, plural, shorten_name, utc_minute

MAX_RATES = 20
"""Rates that are listed, the worst ones."""
MAX_SLICES = 10


def headline(report: Comparison) -> str:
    """Describe what was compared, in one line."""
    production = report.production
    span = ""
    if production.first_ms is not None and production.last_ms is not None:
        span = f", {utc_minute(production.first_ms / 1000)} to {utc_minute(production.last_ms / 1000)} UTC"
    by = "all rows together" if report.grain == "all" else f"by {report.grain}"
    return (
        f"{production.name} ({plural(production.rows, 'row')}{span}), {by}, compared with {report.training.name} "
        f"({plural(report.training.rows, 'row')})"
    )


def conclusion(report: Comparison) -> str:
    """Count the fields by their levels of drift and of rates, and name the worst level with its cause."""
    drift = Counter(line.worst["level"] if line.worst else "insufficient" for line in report.fields)
    rates = Counter(line.worst_rate["level"] for line in report.fields if line.worst_rate)
    text = (
        f"{plural(len(report.fields), 'field')}, drift: {', '.join(f'{drift[level]} {level}' for level in ATTENTION)}; "
        f"rates: {rates['major']} major, {rates['minor']} minor."
    )
    if report.level == "insufficient":
        return f"{text} Not judged, so neither good nor bad: {report.cause}."
    return f"{text} Worst level: {report.level}{f' ({report.cause})' if report.cause else ''}."


def changed_rates(report: Comparison) -> list[dict[str, Any]]:
    """Return the worst row of each rate of the slice `all` that is minor or major, worst first, with `periods`."""
    rows = unsliced_rows(rows_by_period(report.rates, report.contract, report.periods))
    return _worst_of_each(rows, ("field", "kind"), "delta")


def changed_slices(report: Comparison) -> list[dict[str, Any]]:
    """Return the worst row of `drift` of each slice and field that is minor or major, worst first, with `periods`."""
    rows = [row for row in rows_by_period(report.drift, report.contract, report.periods) if row["slice"] != ALL]
    return _worst_of_each(rows, ("slice", "field"), "psi")


def _worst_of_each(rows: Sequence[dict[str, Any]], key: tuple[str, ...], size: str) -> list[dict[str, Any]]:
    """Return, of the minor and major rows with equal keys, the worst; `periods` is the number of them."""

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        return -SEVERITY[row["level"]], -abs(row[size]), *(row[name] for name in key)

    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["level"] in ("minor", "major"):
            groups.setdefault(tuple(row[name] for name in key), []).append(row)
    worst = [(sorted(group, key=order)[0], len(group)) for group in groups.values()]
    return sorted(({**row, "periods": n} for row, n in worst), key=order)


def headline_metrics(report: Comparison) -> list[PeriodMetric]:
    """Return the metrics of the whole model that matter most, and those that changed, by metric and period."""
    of_model = [metric for metric in report.performance if not metric.class_name]
    changed = {metric.metric for metric in of_model if metric.level in ("minor", "major")}
    return [metric for metric in of_model if metric.metric in HEADLINE_METRICS or metric.metric in changed]


def multivariate_line(report: Comparison) -> str:
    """Describe the result of the classifier."""
    result = report.multivariate
    assert result is not None
    text = (
        f"Multivariate: a classifier tells production from training with AUC {result.auc:.3f} "
        f"[{result.low:.3f}, {result.high:.3f}] (0.5: not at all, 1: always)"
    )
    top = ", ".join(f"{shorten_name(name)} {loss:.3f}" for name, loss in result.top_fields)
    return f"{text}; loss of AUC without a field: {top}." if top else f"{text}."


def moved_bin(line: FieldVerdicts) -> str:
    """Name the bin that contributes most to PSI, with its shares in training and production; or why it is unknown."""
    row = line.worst
    if row is not None and row["reason"]:
        return f"insufficient: {row['reason']}"
    if row is None or not row["top_bin"]:
        return ""
    name = shorten_name(row["top_bin"])
    if row["top_bin"] == OTHER_BIN and line.new_values:
        name += f" (new: {', '.join(f'“{shorten_name(value)}”' for value in line.new_values)})"
    return f"{name}: {percentage(row['expected_share'])} → {percentage(row['actual_share'])}"


def number(value: float, digits: int = 3) -> str:
    """Write a number; empty if it is unknown."""
    return "" if not math.isfinite(value) else f"{value:.{digits}f}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """Write an interval; an unknown end is empty, an infinite one `∞`."""
    if math.isnan(low) and math.isnan(high):
        return ""
    return f"{number(low, digits)}–{'∞' if high == math.inf else number(high, digits)}"


def psi_notes(report: Comparison) -> list[str]:
    """Explain φ if it is known, and a PSI above its interval if a field or slice that is listed has one."""
    rows = [*(line.worst for line in report.fields if line.worst is not None), *changed_slices(report)]
    notes = []
    if report.phi_window:
        notes.append(f"{PHI}.")
    if any(round(row["psi"], 3) > round(row["psi_high"], 3) for row in rows):
        notes.append("A PSI above its interval contains the noise of too few rows; judge the change by the interval.")
    return notes


def rate_numbers(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Write a row of `changed_rates`: rates in training and production, change, its interval, number of periods."""
    return (
        percentage(row["baseline_rate"], 2),
        percentage(row["rate"], 2),
        points(row["delta"]),
        f"{points(row['delta_low'])} to {points(row['delta_high'])}",
        str(row["periods"]),
    )


def points(share: float) -> str:
    """Write a difference of shares in percentage points."""
    return f"{100 * share:+.2f}"
