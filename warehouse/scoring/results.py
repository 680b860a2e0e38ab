"""What was made of the state: performance with its revisions, references, curves of maturity, rows about models."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from warehouse.client import Client
from warehouse.queries import rows_of
from warehouse.scoring.rules import Rules
from warehouse.tables import SCHEMAS, insert_columns, insert_rows

KEY = ("version", "slice", "metric", "class", "window_end")
"""What tells rows of `performance` of one model and window length apart, but for the revision."""
UNTOLD = frozenset({"maturity", "revised_at", "revision"})
"""Columns that alone make no revision: they change with every look."""
TOLERANCE = 1e-9
"""Figures that differ by less than this share are the same."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What the scorer does about a model; see the table `scorer_models`."""

    model: str
    state: str
    reason: str
    basis: str
    kind: str
    raw_share: float
    newest_at: datetime
    scored_until: datetime
    updated_at: datetime


def models(client: Client) -> dict[str, ModelRow]:
    """Read the rows about models, by name."""
    return {row.model: row for row in rows_of(client, ModelRow, "FROM scorer_models FINAL ORDER BY model")}


def write_model(client: Client, row: Mapping[str, Any]) -> None:
    """Write a row about a model; times in Unix milliseconds."""
    insert_rows(client, "scorer_models", [row])


_TIMES = ("newest_at", "scored_until", "updated_at")


def row_of(told: Mapping[str, Any]) -> ModelRow:
    """What `models` gives of a row that was written."""
    times = {name: datetime.fromtimestamp(told[name] / 1000, UTC) for name in _TIMES}
    return ModelRow(**{each.name: times.get(each.name, told[each.name]) for each in dataclasses.fields(ModelRow)})


def revise(client: Client, model: str, window: str, columns: Mapping[str, Any]) -> int:
    """Write the rows of `performance` that say something else than the last revision does.

    Args:
        client: the warehouse.
        model: the model,
        window: … and the length of all rows.
        columns: those of `performance` but for the revision: equally long arrays or lists.

    Returns:
        How many rows were written.
    """
    ends = sorted({int(end) for end in columns["window_end"]})
    if not ends:
        return 0
    last = client.arrow(
        f"SELECT {', '.join(name for name in SCHEMAS['performance'].names if name != 'revised_at')} "
        "FROM performance AS given WHERE model = {model:String} AND window = {window:String} "
        "AND window_end IN {ends:Array(UInt32)} AND window_end >= toDateTime({first:UInt32}) "
        "AND window_end <= toDateTime({end:UInt32}) "
        "ORDER BY revision DESC LIMIT 1 BY version, slice, metric, class, window_end",
        {"model": model, "window": window, "ends": ends, "first": ends[0], "end": ends[-1]},
    )
    before = {key: i for i, key in enumerate(zip(*(last[name].to_pylist() for name in KEY), strict=True))}
    keys = list(zip(*(_plain(columns[name]) for name in KEY), strict=True))
    at = np.array([before.get(key, -1) for key in keys], dtype=np.int64)
    known = at >= 0
    same = known.copy()
    for name in SCHEMAS["performance"].names:
        if name not in UNTOLD and name not in KEY and known.any():
            kind = SCHEMAS["performance"].field(name).type
            same[known] &= _equal(kind, np.asarray(last[name])[at[known]], np.asarray(columns[name])[known])
    revision = np.ones(len(keys), dtype=np.int64)
    if known.any():
        revision[known] = np.asarray(last["revision"]).astype(np.int64)[at[known]] + 1
    told = {name: np.asarray(values)[~same] for name, values in columns.items()}
    if (~same).any():
        insert_columns(client, "performance", {**told, "revision": revision[~same]})
    return int((~same).sum())


def _equal(kind: pa.DataType, a: Any, b: Any) -> Any:
    if pa.types.is_floating(kind):
        return np.isclose(a.astype(np.float64), b.astype(np.float64), rtol=TOLERANCE, atol=1e-12, equal_nan=True)
    if pa.types.is_timestamp(kind):
        return a.astype(np.int64) == b.astype(np.int64)
    return a == b


def _plain(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def immature(client: Client, model: str) -> dict[str, set[int]]:
    """Find the windows (starts, Unix seconds) whose labels were not mature when last measured, by length's name."""
    found: dict[str, set[int]] = {}
    for window, start in client.rows(
        "SELECT window, toUnixTimestamp(window_start) AS start FROM latest_performance "
        "WHERE model = {model:String} AND slice = 'all' GROUP BY window, start HAVING NOT min(mature)",
        {"model": model},
    ):
        found.setdefault(str(window), set()).add(int(start))
    return found


def references(client: Client, rules: Rules) -> pa.Table:
    """Read the references of a model's versions, each as it was frozen first, by version, slice and age."""
    return client.arrow(
        "SELECT * EXCEPT (model, basis, frozen_at) FROM performance_reference FINAL "
        "WHERE model = {model:String} AND basis = {basis:String} "
        "ORDER BY version, slice, age_s, frozen_at LIMIT 1 BY version, slice, age_s",
        {"model": rules.model, "basis": rules.basis},
    )


def frozen_since(client: Client, rules: Rules, moment: datetime) -> bool:
    """Whether a reference of a model was frozen at a moment or later."""
    sql = (
        "SELECT 1 FROM performance_reference WHERE model = {model:String} AND basis = {basis:String} "
        "AND frozen_at >= fromUnixTimestamp64Milli({since:Int64}) LIMIT 1"
    )
    since = round(moment.timestamp() * 1000)
    return bool(client.rows(sql, {"model": rules.model, "basis": rules.basis, "since": since}))


def reference_rows(rules: Rules, version: str, counted: pa.Table, spanned: Mapping[str, int]) -> list[dict[str, Any]]:
    """Make rows of `performance_reference` of what `state.score_together` counted, summed by slice.

    Args:
        rules: of the model.
        version: rows of others are passed over.
        counted: one or more of its tables, in a fixed order, so that sums come out the same to the bit.
        spanned: age_s, from_time and to_time in Unix seconds, frozen_at in milliseconds.
    """
    names = ("predictions", "labelled", "confusion", "sums")
    totals: dict[str, dict[str, Any]] = {}
    for row in counted.to_pylist():
        if row["version"] != version:
            continue
        total = totals.setdefault(row["slice"], {**dict.fromkeys(names, 0), "cells": {}})
        for name in names:
            total[name] = np.add(total[name], row[name])
        for number, *sums in zip(row["bins"], *(row[name] for name in _BIN_SUMS), strict=True):
            total["cells"][number] = np.add(total["cells"].get(number, 0), sums)
    rows = []
    for name, total in sorted(totals.items()):
        bins = sorted(total["cells"])
        arrays = np.array([total["cells"][each] for each in bins], dtype=np.float64).reshape(len(bins), len(_BIN_SUMS))
        cells = {
            column: (values if column in _BIN_SCORES else values.astype(np.int64)).tolist()
            for column, values in zip(_BIN_SUMS, arrays.T, strict=True)
        }
        row = {"model": rules.model, "version": version, "basis": rules.basis, "slice": name, **spanned}
        row |= {"predictions": int(total["predictions"]), "labelled": int(total["labelled"])}
        rows.append(
            row | {each: np.atleast_1d(total[each]).tolist() for each in ("confusion", "sums")} | cells | {"bins": bins}
        )
    return rows


def write_references(client: Client, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the reference of a version at all its ages, at once: it is there wholly or not at all."""
    insert_rows(client, "performance_reference", rows)


_BIN_SUMS = ("bin_predictions", "bin_scores", "bin_labelled", "bin_labelled_scores", "bin_positives")
_BIN_SCORES = ("bin_scores", "bin_labelled_scores")


def write_maturity(client: Client, row: Mapping[str, Any]) -> None:
    """Write a learned curve of maturity."""
    insert_rows(client, "maturity", [row])


def last_maturity(client: Client, rules: Rules) -> Sequence[float]:
    """Read the shares of the curve that was learned last; empty where there is none."""
    found = client.rows(
        "SELECT shares FROM maturity WHERE model = {model:String} AND basis = {basis:String} "
        "ORDER BY learned_at DESC LIMIT 1",
        {"model": rules.model, "basis": rules.basis},
    )
    return list(found[0][0]) if found else []
