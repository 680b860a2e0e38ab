"""Text and JSON output of what is detected."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from barograph_server.alerts.prediction.detectability_text import invisible_change, invisible_reason, size_text
from barograph_server.alerts.prediction.model_detectability import HORIZONS, ModelDetectability
from barograph_server.alerts.prediction.smallest_change import Detectability
from barograph_server.terminal import AlignedTable, Terminal

BLIND_SPOTS = 5
"""Blind spots that are described by sentences, the largest first."""
_CHANGES = {"shift": "shift of the mean", "moved": "move between categories", "nulls": "more nulls"}


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
    terminal.lines(
        f"{row.field}: {invisible_change(row, result.std)} is invisible in a day: {invisible_reason(row)}"
        for row in result.rules[:BLIND_SPOTS]
    )
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


def _sizes(row: Detectability, std: dict[str, float]) -> Iterator[str]:
    return (size_text(row, size, std) for size in row.smallest)


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
