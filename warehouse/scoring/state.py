"""The state of score windows: recomputed from raw rows, and read as longer windows."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring import cell_counts, label_join
from barograph_server.warehouse.scoring.rules import Rules, ScoreDimension

_IN_ORDER = "SETTINGS max_threads = 1, query_plan_remove_redundant_sorting = 0"
"""A fixed order makes sums of doubles bit-identical."""


def score_windows(
    client: Client, rules: Rules, dimensions: Sequence[ScoreDimension], windows: Sequence[int], now_ms: int
) -> None:
    """Recompute the state of score windows (starts, Unix seconds) from raw rows.

    Of two states of a window the one with more records counts, so a state stays after its raw rows expire.
    """
    parameters = cell_counts.parameters(rules, dimensions, rules.hours_of(list(windows)), now_ms)
    query = cell_counts.state_query(rules, dimensions, has_repeats=has_repeated_ids(client, rules, windows))
    client.insert_selected("performance_state", cell_counts.COLUMNS, query, parameters)
    client.insert_selected("performance_state", cell_counts.COLUMNS, cell_counts.emptied_rows_query(rules), parameters)


def has_repeated_ids(client: Client, rules: Rules, windows: Sequence[int]) -> bool:
    """Return whether any id has several rows or labels in score windows, which then must be ordered."""
    parameters = {**rules.parameters(), "hours": rules.hours_of(list(windows))}
    return bool(client.rows(f"SELECT 1 FROM ({label_join.repeated_ids()}) LIMIT 1", parameters))


def count_reference(
    client: Client,
    rules: Rules,
    dimensions: Sequence[ScoreDimension],
    windows: Sequence[int],
    age_s: int,
    *,
    has_repeats: bool,
) -> pa.Table:
    """Count score windows as one, without labels that took longer than an age; writes nothing.

    Args:
        windows: the score windows (starts, Unix seconds).
        age_s: the largest label age to count.
        has_repeats: the result of `has_repeated_ids` for the windows.

    Returns:
        One row per version and slice, with `cell_counts.REFERENCE_COLUMNS`.
    """
    parameters = cell_counts.parameters(rules, dimensions, rules.hours_of(list(windows)), 0)
    parameters["horizon"] = min(rules.horizon_ms, age_s * 1000)
    return client.arrow(cell_counts.reference_query(rules, dimensions, has_repeats=has_repeats), parameters)


def window_sums(client: Client, rules: Rules, length_s: int, windows: Sequence[int], *, origin_s: int = 0) -> pa.Table:
    """Read windows of one length (starts, Unix seconds) as sums of their score windows.

    Args:
        length_s: length of the windows, a multiple of the score window.
        windows: their starts. They differ from `origin_s` by multiples of the length.
        origin_s: start of any window, in whole score windows.

    Returns:
        One row per version, slice and non-empty window: version, slice, start (unsigned Unix seconds),
        predictions, labelled, confusion, bins and the five arrays of the bins, sums.
    """
    if not windows:
        return pa.table({})
    origin_s %= length_s
    shift = f" + {origin_s}" if origin_s else ""
    start = f"intDiv(toUnixTimestamp(window_start){shift.replace('+', '-')}, {length_s}) * {length_s}{shift}"
    sums = (
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
    parameters: dict[str, Any] = {
        "model": rules.model,
        "basis": rules.basis,
        "windows": list(windows),
        "first": min(windows),
        "end": max(windows) + length_s,
    }
    return client.arrow(
        "SELECT version, slice, start, predictions, labelled, confusion, sums, cells.1 AS bins, "
        "cells.2 AS bin_predictions, cells.3 AS bin_scores, cells.4 AS bin_labelled, "
        f"cells.5 AS bin_labelled_scores, cells.6 AS bin_positives FROM ({sums}) "
        f"ORDER BY start, version, slice {_IN_ORDER}",
        parameters,
    )


def label_ages(client: Client, rules: Rules, first_s: int) -> pa.Table:
    """Read the ages of labels in the slice `all`, over all versions, per score window from a time on.

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
    rows = client.rows(
        "SELECT version, toUnixTimestamp(min(window_start)) FROM performance_state "
        "WHERE model = {model:String} AND basis = {basis:String} AND slice = 'all' GROUP BY version",
        {"model": rules.model, "basis": rules.basis},
    )
    return {str(version): int(start) for version, start in rows}


def predictions_in(client: Client, rules: Rules, version: str, first_s: int, end_s: int) -> int:
    """Count the predictions of a version in the score windows that start in a range, from their state."""
    rows = client.rows(
        "SELECT sum(predictions) FROM performance_state FINAL WHERE model = {model:String} AND basis = {basis:String} "
        "AND version = {version:String} AND slice = 'all' "
        "AND window_start >= toDateTime({first:UInt32}) AND window_start < toDateTime({end:UInt32})",
        {"model": rules.model, "basis": rules.basis, "version": version, "first": first_s, "end": end_s},
    )
    return int(rows[0][0])


def raw_predictions_in(client: Client, rules: Rules, version: str, first_s: int, end_s: int) -> int:
    """Count the distinct raw predictions of a version in a range (Unix seconds)."""
    rows = client.rows(
        "SELECT uniqExact(id) FROM predictions WHERE model = {model:String} AND version = {version:String} "
        "AND toStartOfHour(at) >= toDateTime({first:UInt32}) AND toStartOfHour(at) < toDateTime({end:UInt32})",
        {"model": rules.model, "version": version, "first": first_s, "end": end_s},
    )
    return int(rows[0][0])


def windows_in(client: Client, rules: Rules, first_s: int, end_s: int) -> list[int]:
    """Find the score windows (starts, Unix seconds) of a range that have raw predictions."""
    rows = client.rows(
        f"SELECT DISTINCT intDiv(toUnixTimestamp(toStartOfHour(at)), {rules.window_s}) * {rules.window_s} AS start "
        "FROM predictions WHERE model = {model:String} AND toStartOfHour(at) >= toDateTime({first:UInt32}) "
        "AND toStartOfHour(at) < toDateTime({end:UInt32}) ORDER BY start",
        {"model": rules.model, "first": max(0, first_s), "end": end_s},
    )
    return [int(start) for (start,) in rows]
