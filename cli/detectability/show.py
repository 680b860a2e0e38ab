"""Text and JSON output of what is detected."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from alerts.prediction.smallest_change import Detectability
from cli.detectability.compute import HORIZONS, ModelDetectability
from cli.terminal import AlignedTable, Terminal

BLIND_SPOTS = 5
"""Blind spots that are described by sentences, the largest first."""
CORRELATED = 5.0
"""A larger φ is named as the reason."""
ENOUGH = 370.0
"""Independent events of a window from which its thresholds decide, and more traffic does not help: n* of ten bins."""
_CHANGES = {"shift": "shift of the mean", "moved": "move between categories", "nulls": "more nulls"}
_NOUNS = {"shift": "shift", "moved": "move between categories", "nulls": "rise of nulls"}
_DAY = tuple(HORIZONS).index("1d")


def detectability_json(result: ModelDetectability) -> dict[str, Any]:
    """Convert what is detected to JSON values; a change that is never detected is null.

    Sizes of shifts are standard deviations of training; other sizes are shares of the events.
    """
    return {
        "model": result.model,
        "version": result.version,
        "baseline_id": result.baseline_id,
        "rules": [_row_json(row, {"rule": row.rule}) for row in result.rules],
        "windows": [_row_json(row, {"window": row.window, "slice": row.slice_name}) for row in result.windows],
    }


def print_detectability(terminal: Terminal, result: ModelDetectability) -> None:
    """Print blind spots, then the smallest change of each field, then that of each window and slice."""
    terminal.line(f"{result.model}: version {result.version}, traffic of the last week", "bold")
    terminal.lines(blind_spot(row, result.std) for row in result.rules[:BLIND_SPOTS])
    terminal.line()
    terminal.line("Smallest change that fires a rule, with a probability of 80 %:")
    table = AlignedTable("field", "change", "rule", *HORIZONS, numbers=tuple(HORIZONS))
    for row in result.rules:
        table.row(row.field, _CHANGES[row.change], row.rule, *_sizes(row, result.std))
    terminal.table(table)
    terminal.line()
    terminal.line("Smallest change that makes a window `major`, with a probability of 80 %:")
    table = AlignedTable(
        *("field", "slice", "change", "window", "events", "φ"), *HORIZONS, numbers=("events", "φ", *HORIZONS)
    )
    for row in result.windows:
        assert row.traffic is not None
        counts = f"{row.traffic.events:,.0f}", f"{row.traffic.phi:.3g}"
        table.row(row.field, row.slice_name, _CHANGES[row.change], row.window, *counts, *_sizes(row, result.std))
    terminal.table(table)


def blind_spot(row: Detectability, std: dict[str, float]) -> str:
    """Describe what a rule does not detect in a day, and why."""
    size, what = row.smallest[_DAY], _NOUNS[row.change]
    limit = f" of less than {_size(row, size, std)}" if math.isfinite(size) else ""
    return f"{row.field}: {'a' if limit else 'no'} {what}{limit} is invisible in a day: {_reason(row)}"


def _reason(row: Detectability) -> str:
    traffic = row.traffic
    if traffic is None:
        return "the rule has no window with data"
    independent, name = traffic.events / traffic.phi, traffic.window.name
    if independent < ENOUGH and traffic.phi > CORRELATED:
        return (
            f"φ is {traffic.phi:.3g}, so {traffic.events:,.0f} events in {name} count as "
            f"{independent:,.0f} independent ones"
        )
    if independent < ENOUGH:
        return f"{name} has only {traffic.events:,.0f} events"
    return "the windows and thresholds of the rule decide, not the traffic"


def _sizes(row: Detectability, std: dict[str, float]) -> Iterator[str]:
    return (_size(row, size, std) if math.isfinite(size) else "–" for size in row.smallest)


def _size(row: Detectability, size: float, std: dict[str, float]) -> str:
    if row.change == "shift":
        return f"{size * std[row.field]:.3g} ({size:.2g} sd)"
    return f"{100.0 * size:.2g} points"


def _row_json(row: Detectability, where: dict[str, str]) -> dict[str, Any]:
    traffic = row.traffic
    return {
        "field": row.field,
        "change": row.change,
        **where,
        "unit": "sd" if row.change == "shift" else "share",
        "n": None if traffic is None else traffic.events,
        "phi": None if traffic is None else traffic.phi,
        "smallest": {
            name: size if math.isfinite(size) else None for name, size in zip(HORIZONS, row.smallest, strict=True)
        },
    }
