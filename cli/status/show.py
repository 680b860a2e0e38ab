"""Writes a status for people and for programs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.status.read import FORGOTTEN_S, ModelStatus, Status, is_silent, never
from cli.terminal import Text
from sketches.baseline.levels import LEVEL_NAMES
from warehouse.status import DriftRow, LostRange, ProcessorRow, RateRow

PIPE_WIDTH = 160
"""Characters of a line where no screen bounds it."""
MAJOR_SHOWN = 20
LOSSES_SHOWN = 10

_STYLES = {"major": "bold red", "minor": "yellow", "insufficient": "dim", "stable": "green"}


def status_json(status: Status) -> dict[str, Any]:
    """A status as values of JSON: times in ISO 8601, numbers that are not finite as null."""
    return {
        "models": [_plain(dataclasses.asdict(model)) for model in status.models],
        "processors": [
            {**_plain(dataclasses.asdict(processor)), "silent": is_silent(processor)} for processor in status.processors
        ],
        "losses": [_plain(dataclasses.asdict(loss)) for loss in status.losses],
    }


def print_status(console: Console, status: Status) -> None:
    """Print a status as tables."""
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    if status.models:
        console.print(_models(status.models))
        for line in _major(status.models):
            console.print(line, soft_wrap=True)
    else:
        console.print("No model is applied yet: make a contract with `barograph infer`, then `barograph apply` it.")
    console.print()
    shown = [processor for processor in status.processors if processor.silent_s <= FORGOTTEN_S]
    if shown:
        console.print(_processors(shown))
    else:
        console.print("No processor has reported for a day: start them with `barograph run` or `barograph dev`.")
    if status.losses:
        console.print()
        lost = sum(loss.offsets for loss in status.losses)
        console.print(f"{lost:,} offsets of the source topic are lost, the last in:", style="red")
        console.print(_losses(status.losses[:LOSSES_SHOWN]))


def ago(seconds: float) -> str:
    """Write an age in the unit that people would use: 40 s, 12 min, 3 h, 9 d; 0 s where clocks disagree."""
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds // size_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    return table


def _models(models: Sequence[ModelStatus]) -> Table:
    numbers = ("complete", *LEVEL_NAMES)
    table = _table("model", "version", "last traffic", "sealed until", *numbers, numbers=numbers)
    for model in models:
        fresh = model.freshness
        traffic = sealed = "never"
        if fresh is not None and not never(fresh.last_traffic_at):
            traffic = f"{ago(fresh.traffic_age_s)} ago"
        if fresh is not None and not never(fresh.sealed_until):
            sealed = f"{fresh.sealed_until:%Y-%m-%d %H:%M}"
        complete = "" if model.completeness is None else f"{model.completeness:.2%}"
        levels = (_count(level, model.levels[level]) for level in LEVEL_NAMES)
        table.add_row(Text(model.model), Text(model.version or "none yet"), traffic, sealed, complete, *levels)
    return table


def _count(level: str, count: int) -> Text:
    return Text(str(count), style=_STYLES[level] if count else "dim")


def _major(models: Sequence[ModelStatus]) -> Iterator[Text]:
    rows = [row for model in models for row in model.major]
    for row in rows[:MAJOR_SHOWN]:
        yield Text(f"major  {row.model} {row.version}  {_verdict(row)}", style="red")
    if len(rows) > MAJOR_SHOWN:
        yield Text(f"and {len(rows) - MAJOR_SHOWN} more: `barograph status --format json` has them all.")


def _verdict(row: DriftRow | RateRow) -> str:
    window = f"{row.window} to {row.window_end:%Y-%m-%d %H:%M}"
    if isinstance(row, DriftRow):
        what = f"{row.field}, {window}: PSI {row.psi:.3f} [{row.psi_low:.3f}, {row.psi_high:.3f}]"
        return f"{what}, most in {row.top_bin}" if row.top_bin else what
    rate = f"{row.rate:.1%} instead of {row.baseline_rate:.1%}"
    return f"{row.field or 'predictions'} {row.kind}, {window}: {rate}"


def _processors(processors: Sequence[ProcessorRow]) -> Table:
    numbers = ("lag", "events/s", "events", "dead letters", "retries")
    table = _table("processor", "instance", *numbers, "last commit", "state", numbers=numbers)
    for row in processors:
        commit_s = (row.at - row.last_commit_at).total_seconds() + row.silent_s
        state = (
            Text(f"silent for {ago(row.silent_s)}", style="bold red") if is_silent(row) else Text("reports", "green")
        )
        table.add_row(
            row.kind,
            Text(row.instance),
            f"{row.lag:,}" if row.lag >= 0 else "unknown",
            f"{row.rate:,.0f}",
            f"{row.events:,}",
            f"{row.dead_letters:,}",
            f"{row.retries:,}",
            "never" if never(row.last_commit_at) else f"{ago(commit_s)} ago",
            state,
        )
    return table


def _losses(losses: Sequence[LostRange]) -> Table:
    table = _table("partition", "offsets", "event time", "why", "recorded")
    for loss in losses:
        table.add_row(
            str(loss.source_partition),
            f"{loss.start_offset:,} to {loss.end_offset:,}",
            f"{loss.from_time:%Y-%m-%d %H:%M} to {loss.to_time:%Y-%m-%d %H:%M}",
            Text(loss.reason),
            f"{loss.recorded_at:%Y-%m-%d %H:%M}",
        )
    return table


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
