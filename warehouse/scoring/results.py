"""Results of scoring: performance and its revisions, references, label delay curves, and the status of models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import rows_of
from barograph_server.warehouse.scoring.cell_counts import BIN_SUMS
from barograph_server.warehouse.scoring.rules import Rules
from barograph_server.warehouse.tables import SCHEMAS, insert_columns, insert_records, insert_rows

KEY = ("version", "slice", "metric", "class", "window_end")
"""Key of the rows of `performance` of one model and window length, apart from the revision."""
UNREVISED_COLUMNS = frozenset({"maturity", "revised_at", "revision"})
"""Columns that change with every pass and do not cause a revision."""
TOLERANCE = 1e-9
"""Relative difference below which two values are equal."""


@dataclass(frozen=True, slots=True)
class ScoringStatus:
    """The scoring status of a model; a row of the table `scorer_models`."""

    model: str
    state: str
    reason: str
    basis: str
    kind: str
    raw_share: float
    newest_at: datetime
    scored_until: datetime
    updated_at: datetime


def scoring_statuses(client: Client) -> dict[str, ScoringStatus]:
    return {row.model: row for row in rows_of(client, ScoringStatus, "FROM scorer_models FINAL ORDER BY model")}


def write_status(client: Client, status: ScoringStatus) -> None:
    insert_records(client, "scorer_models", [status])


def revise(client: Client, model: str, window: str, columns: Mapping[str, Any]) -> int:
    """Write the rows of `performance` that differ from their latest revision.

    Args:
        window: the window length of all rows.
        columns: the columns of `performance` except the revision: arrays or lists of equal length.

    Returns:
        The number of written rows.
    """
    ends = sorted({int(end) for end in columns["window_end"]})
    if not ends:
        return 0
    latest = client.arrow(
        f"SELECT {', '.join(name for name in SCHEMAS['performance'].names if name != 'revised_at')} "
        "FROM performance WHERE model = {model:String} AND window = {window:String} "
        "AND window_end IN {ends:Array(UInt32)} AND window_end >= toDateTime({first:UInt32}) "
        "AND window_end <= toDateTime({end:UInt32}) "
        "ORDER BY revision DESC LIMIT 1 BY version, slice, metric, class, window_end",
        {"model": model, "window": window, "ends": ends, "first": ends[0], "end": ends[-1]},
    )
    latest_index = {key: i for i, key in enumerate(zip(*(latest[name].to_pylist() for name in KEY), strict=True))}
    keys = list(zip(*(np.asarray(columns[name]).tolist() for name in KEY), strict=True))
    index = np.array([latest_index.get(key, -1) for key in keys], dtype=np.int64)
    exists = index >= 0
    is_unchanged = exists.copy()
    for name in SCHEMAS["performance"].names:
        if name not in UNREVISED_COLUMNS and name not in KEY and exists.any():
            kind = SCHEMAS["performance"].field(name).type
            is_unchanged[exists] &= _equal(
                kind, np.asarray(latest[name])[index[exists]], np.asarray(columns[name])[exists]
            )
    revision = np.ones(len(keys), dtype=np.int64)
    if exists.any():
        revision[exists] = np.asarray(latest["revision"]).astype(np.int64)[index[exists]] + 1
    changed = ~is_unchanged
    if changed.any():
        rows = {name: np.asarray(values)[changed] for name, values in columns.items()}
        insert_columns(client, "performance", {**rows, "revision": revision[changed]})
    return int(changed.sum())


def _equal(kind: pa.DataType, a: Any, b: Any) -> Any:
    if pa.types.is_floating(kind):
        return np.isclose(a.astype(np.float64), b.astype(np.float64), rtol=TOLERANCE, atol=1e-12, equal_nan=True)
    if pa.types.is_timestamp(kind):
        return a.astype(np.int64) == b.astype(np.int64)
    return a == b


def immature(client: Client, model: str) -> dict[str, set[int]]:
    """Find the windows (starts, Unix seconds) with immature labels at the last measurement, by window length."""
    windows: dict[str, set[int]] = {}
    for window, start in client.rows(
        "SELECT window, toUnixTimestamp(window_start) AS start FROM latest_performance "
        "WHERE model = {model:String} AND slice = 'all' GROUP BY window, start HAVING NOT min(mature)",
        {"model": model},
    ):
        windows.setdefault(str(window), set()).add(int(start))
    return windows


@dataclass(frozen=True, slots=True)
class ReferenceChoice:
    """The period that a person chose as the reference of a version; a row of the table `reference_choices`."""

    model: str
    version: str
    from_time: datetime
    to_time: datetime
    """Exclusive; equal to `from_time` if the scorer is to choose again."""
    reason: str
    chosen_at: datetime

    @property
    def period(self) -> tuple[int, int]:
        """Start and end in Unix seconds."""
        return round(self.from_time.timestamp()), round(self.to_time.timestamp())


def reference_choices(client: Client) -> dict[str, dict[str, ReferenceChoice]]:
    """Read the latest choice of each version whose reference a person chose, by model and version."""
    by_model: dict[str, dict[str, ReferenceChoice]] = {}
    for row in rows_of(
        client,
        ReferenceChoice,
        "FROM reference_choices FINAL ORDER BY model, version, chosen_at DESC LIMIT 1 BY model, version",
    ):
        if row.from_time < row.to_time:
            by_model.setdefault(row.model, {})[row.version] = row
    return by_model


def write_reference_choice(client: Client, choice: ReferenceChoice) -> None:
    """Store a choice. The scorer reads it before its next pass."""
    insert_records(client, "reference_choices", [choice])


def references(client: Client, rules: Rules) -> pa.Table:
    """Read the reference in force of each version, slice and age of a model, in this order."""
    return client.arrow(
        "SELECT * EXCEPT (model, basis, frozen_at, from_time, to_time), "
        "toUnixTimestamp(from_time) AS from_time, toUnixTimestamp(to_time) AS to_time "
        "FROM performance_reference FINAL WHERE model = {model:String} AND basis = {basis:String} "
        "AND to_time > from_time AND (version, frozen_at) IN (SELECT version, max(frozen_at) "
        "FROM performance_reference WHERE model = {model:String} AND basis = {basis:String} GROUP BY version) "
        "ORDER BY version, slice, age_s",
        {"model": rules.model, "basis": rules.basis},
    )


def has_reference_since(client: Client, rules: Rules, time: datetime) -> bool:
    """Return whether a reference of a model was frozen at a time or later."""
    sql = (
        "SELECT 1 FROM performance_reference WHERE model = {model:String} AND basis = {basis:String} "
        "AND frozen_at >= fromUnixTimestamp64Milli({since:Int64}) LIMIT 1"
    )
    since = round(time.timestamp() * 1000)
    return bool(client.rows(sql, {"model": rules.model, "basis": rules.basis, "since": since}))


def reference_rows(rules: Rules, version: str, counts: pa.Table, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Build rows of `performance_reference` from the counts of `state.count_reference`, summed by slice.

    Args:
        version: the version; rows of other versions are ignored.
        counts: the concatenated counts, in a fixed order, so that sums are bit-identical.
        columns: age_s, from_time and to_time in Unix seconds, and `chosen`.
    """
    names = ("predictions", "labelled", "confusion", "sums")
    totals: dict[str, dict[str, Any]] = {}
    for row in counts.to_pylist():
        if row["version"] != version:
            continue
        total = totals.setdefault(row["slice"], {**dict.fromkeys(names, 0), "cells": {}})
        for name in names:
            total[name] = np.add(total[name], row[name])
        for number, *sums in zip(row["bins"], *(row[name] for name in BIN_SUMS), strict=True):
            total["cells"][number] = np.add(total["cells"].get(number, 0), sums)
    rows = []
    for name, total in sorted(totals.items()):
        bins = sorted(total["cells"])
        arrays = np.array([total["cells"][each] for each in bins], dtype=np.float64).reshape(len(bins), len(BIN_SUMS))
        cells = {
            column: (values if column in _BIN_SCORES else values.astype(np.int64)).tolist()
            for column, values in zip(BIN_SUMS, arrays.T, strict=True)
        }
        row = {"model": rules.model, "version": version, "basis": rules.basis, "slice": name, **columns}
        row |= {"predictions": int(total["predictions"]), "labelled": int(total["labelled"])}
        rows.append(
            row | {each: np.atleast_1d(total[each]).tolist() for each in ("confusion", "sums")} | cells | {"bins": bins}
        )
    return rows


def withdrawn_reference(rules: Rules, version: str) -> dict[str, Any]:
    """Build the row of `performance_reference` that says that a version has no reference: its period is empty."""
    arrays: dict[str, list[Any]] = {name: [] for name in ("bins", *BIN_SUMS, "confusion", "sums")}
    row = {"model": rules.model, "version": version, "basis": rules.basis, "slice": "all", "age_s": 0}
    return row | {"from_time": 0, "to_time": 0, "predictions": 0, "labelled": 0, "chosen": False} | arrays


def write_references(client: Client, rows: Sequence[Mapping[str, Any]], now_ms: int) -> None:
    """Write the reference of a version at all label ages in one insert, so that it is complete or absent.

    It replaces the version's earlier reference, whatever the clock says.

    Args:
        rows: all rows of one version, without `frozen_at`.
    """
    [(last_ms,)] = client.rows(
        "SELECT toUnixTimestamp64Milli(max(frozen_at)) FROM performance_reference "
        "WHERE model = {model:String} AND basis = {basis:String} AND version = {version:String}",
        {name: rows[0][name] for name in ("model", "basis", "version")},
    )
    frozen_ms = max(now_ms, int(last_ms) + 1)
    insert_rows(client, "performance_reference", [{**row, "frozen_at": frozen_ms} for row in rows])


_BIN_SCORES = ("bin_scores", "bin_labelled_scores")


def write_maturity(client: Client, row: Mapping[str, Any]) -> None:
    """Write a learned label delay curve."""
    insert_rows(client, "maturity", [row])


def latest_maturity(client: Client, rules: Rules) -> Sequence[float]:
    """Read the shares of the latest learned curve; empty if there is none."""
    rows = client.rows(
        "SELECT shares FROM maturity WHERE model = {model:String} AND basis = {basis:String} "
        "ORDER BY learned_at DESC LIMIT 1",
        {"model": rules.model, "basis": rules.basis},
    )
    return list(rows[0][0]) if rows else []
