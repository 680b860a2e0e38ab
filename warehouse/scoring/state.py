"""The state of score windows: made anew from raw rows, and read as longer windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from warehouse.client import Client
from warehouse.scoring import cell_counts, label_join
from warehouse.scoring.rules import Rules, ScoreDimension

_IN_ORDER = "SETTINGS max_threads = 1, query_plan_remove_redundant_sorting = 0"
"""Sums of doubles come out the same to the bit when they are taken in one order."""


def score_windows(
    client: Client, rules: Rules, dimensions: Sequence[ScoreDimension], windows: Sequence[int], now_ms: int
) -> None:
    """Make the state of score windows (starts, Unix seconds) anew from raw rows, whatever it was.

    Of two states of a window that of more records holds, so that one whose raw rows were deleted by age stays.
    """
    values = cell_counts.bound(rules, dimensions, rules.hours_of(list(windows)), now_ms)
    odd = has_odd_ids(client, rules, windows)
    client.insert_selected(
        "performance_state", cell_counts.COLUMNS, cell_counts.counted(rules, dimensions, odd=odd), values
    )
    client.insert_selected("performance_state", cell_counts.COLUMNS, cell_counts.gone(rules), values)


def has_odd_ids(client: Client, rules: Rules, windows: Sequence[int]) -> bool:
    """Whether an id has more than one row or label in score windows, so that these must be put in order."""
    bound = {**rules.parameters(), "hours": rules.hours_of(list(windows))}
    return bool(client.rows(f"SELECT 1 FROM ({label_join.odd_ids()}) LIMIT 1", bound))


def score_together(
    client: Client, rules: Rules, dimensions: Sequence[ScoreDimension], windows: Sequence[int], age_s: int, *, odd: bool
) -> pa.Table:
    """Count score windows as one, as if labels older than an age had not come; nothing is written.

    Args:
        client: the warehouse.
        rules: of the model.
        dimensions: by which predictions are cut into slices.
        windows: the score windows (starts, Unix seconds).
        age_s: labels that took longer are left out.
        odd: `has_odd_ids` of the windows.

    Returns:
        A row per version and slice, columns `cells.TOGETHER`.
    """
    values = cell_counts.bound(rules, dimensions, rules.hours_of(list(windows)), 0)
    values["horizon"] = min(rules.horizon_ms, age_s * 1000)
    return client.arrow(cell_counts.counted_together(rules, dimensions, odd=odd), values)


def merged(client: Client, rules: Rules, length_s: int, windows: Sequence[int]) -> pa.Table:
    """Read windows of a length (starts, Unix seconds) as the sums of their score windows.

    Returns:
        A row per version, slice and window that holds something: version, slice, start (unsigned Unix seconds),
        predictions, labelled, confusion, bins and the five arrays of the bins, sums.
    """
    if not windows:
        return pa.table({})
    start = f"intDiv(toUnixTimestamp(window_start), {length_s}) * {length_s}"
    summed = (
        f"SELECT version, slice, {start} AS start, "
        "sum(state.predictions) AS predictions, sum(state.labelled) AS labelled, "
        "sumForEach(state.confusion) AS confusion, sumForEach(state.sums) AS sums, "
        "sumMap(state.bins, bin_predictions, bin_scores, bin_labelled, bin_labelled_scores, bin_positives) AS cells "
        "FROM (SELECT * FROM performance_state FINAL WHERE model = {model:String} AND basis = {basis:String} "
        f"AND {start} IN {{windows:Array(UInt32)}} "
        "AND window_start >= toDateTime({first:UInt32}) AND window_start < toDateTime({end:UInt32}) "
        "ORDER BY window_start) AS state "
        "GROUP BY version, slice, start"
    )
    bound: dict[str, Any] = {
        "model": rules.model,
        "basis": rules.basis,
        "windows": list(windows),
        "first": min(windows),
        "end": max(windows) + length_s,
    }
    return client.arrow(
        "SELECT version, slice, start, predictions, labelled, confusion, sums, cells.1 AS bins, "
        "cells.2 AS bin_predictions, cells.3 AS bin_scores, cells.4 AS bin_labelled, "
        f"cells.5 AS bin_labelled_scores, cells.6 AS bin_positives FROM ({summed}) "
        f"ORDER BY start, version, slice {_IN_ORDER}",
        bound,
    )


def label_ages(client: Client, rules: Rules, first_s: int) -> pa.Table:
    """Read how labels came: of the slice `all`, all versions together, per score window from a time on.

    Returns:
        start (unsigned Unix seconds), predictions, ages (age bin → first labels).
    """
    return client.arrow(
        "SELECT toUnixTimestamp(window_start) AS start, sum(predictions) AS predictions, sumMap(ages) AS ages "
        "FROM performance_state FINAL WHERE model = {model:String} AND basis = {basis:String} AND slice = 'all' "
        "AND window_start >= toDateTime({first:UInt32}) GROUP BY start ORDER BY start",
        {"model": rules.model, "basis": rules.basis, "first": max(0, first_s)},
    )


def first_windows(client: Client, rules: Rules) -> dict[str, int]:
    """Find the first score window (start, Unix seconds) of each version."""
    found = client.rows(
        "SELECT version, toUnixTimestamp(min(window_start)) FROM performance_state "
        "WHERE model = {model:String} AND basis = {basis:String} AND slice = 'all' GROUP BY version",
        {"model": rules.model, "basis": rules.basis},
    )
    return {str(version): int(start) for version, start in found}


def predictions_in(client: Client, rules: Rules, version: str, first_s: int, end_s: int) -> int:
    """Count the predictions of a version in the score windows that begin in a range, by their state."""
    found = client.rows(
        "SELECT sum(predictions) FROM performance_state FINAL WHERE model = {model:String} AND basis = {basis:String} "
        "AND version = {version:String} AND slice = 'all' "
        "AND window_start >= toDateTime({first:UInt32}) AND window_start < toDateTime({end:UInt32})",
        {"model": rules.model, "basis": rules.basis, "version": version, "first": first_s, "end": end_s},
    )
    return int(found[0][0])


def windows_in(client: Client, rules: Rules, first_s: int, end_s: int) -> list[int]:
    """Find the score windows (starts, Unix seconds) of a range that hold raw predictions."""
    found = client.rows(
        f"SELECT DISTINCT intDiv(toUnixTimestamp(toStartOfHour(at)), {rules.window_s}) * {rules.window_s} AS start "
        "FROM predictions WHERE model = {model:String} AND toStartOfHour(at) >= toDateTime({first:UInt32}) "
        "AND toStartOfHour(at) < toDateTime({end:UInt32}) ORDER BY start",
        {"model": rules.model, "first": max(0, first_s), "end": end_s},
    )
    return [int(start) for (start,) in found]
