"""Daily sums of a candidate's pairs from `shadow_pairs`, by the local days of the model's users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warehouse.client import Client

FloatArray = NDArray[np.float64]

COUNTED = (
    *("requests", "pairs", "compared", "agreed", "labelled", "both_right", "primary_right", "candidate_right"),
    *("missing_labelled", "missing_right", "scored", "loss_primary", "loss_candidate", "brier_primary"),
    *("brier_candidate", "error_primary", "error_candidate", "timed", "log_latency"),
)
"""Columns of `shadow_pairs` that add up over windows."""
PLANNED = ("primary-failed", "skipped-sample")
"""Reasons of missing pairs that are no failure of the candidate."""


@dataclass(frozen=True, slots=True)
class ShadowDays:
    """Sums of one slice over t local days, in order."""

    slice: str
    days: tuple[str, ...]
    """Dates, such as `2026-03-29`."""
    ended: NDArray[np.bool_]
    """Shape (t,): whether the day is over, by the newest score window."""
    mature: NDArray[np.bool_]
    """Shape (t,): whether the labels of the whole day are mature."""
    sums: dict[str, FloatArray]
    """By column of `COUNTED`, each of shape (t,)."""
    missing: dict[str, FloatArray]
    """Requests without a pair by reason, each of shape (t,)."""


def shadow_days(client: Client, model: str, candidate: str, of: str, basis: str, timezone: str) -> list[ShadowDays]:
    """Read the daily sums of every slice, `all` first.

    Args:
        client: the connection to read from.
        model: the model.
        candidate: the candidate's version.
        of: the version whose answers are used.
        basis: the hash of the scoring rules.
        timezone: whose midnights divide days.
    """
    parameters = {"model": model, "candidate": candidate, "of": of, "basis": basis, "zone": timezone}
    ((immature_s,),) = client.rows(
        "SELECT toUnixTimestamp(minOrNull(window_start)) FROM latest_performance WHERE model = {model:String} "
        "AND version = {of:String} AND slice = 'all' AND NOT mature AND dateDiff('second', window_start, window_end) "
        "= (SELECT min(dateDiff('second', window_start, window_end)) FROM latest_performance "
        "WHERE model = {model:String})",
        parameters,
    )
    ((newest_s, n_measured),) = client.rows(
        "SELECT toUnixTimestamp(max(window_end)), count() FROM latest_performance WHERE model = {model:String} "
        "AND version = {of:String} AND slice = 'all'",
        parameters,
    )
    matured_s = 0 if not n_measured else newest_s if immature_s is None else immature_s
    sums = ", ".join(f"sum({name})" for name in COUNTED)
    sql = (
        "SELECT slice, toString(toDate(window_start, {zone:String})) AS day, "  # noqa: S608 - our names
        "toUnixTimestamp(toDateTime(toDate(window_start, {zone:String}) + 1, {zone:String})) AS day_end, "
        "toUnixTimestamp(max(max(window_start) + max(window_s)) OVER ()) AS newest_end, "
        f"sumMap(missing) AS missing, {sums} FROM shadow_pairs FINAL WHERE model = {{model:String}} "
        "AND candidate = {candidate:String} AND of = {of:String} AND basis = {basis:String} AND requests > 0 "
        "GROUP BY slice, day, day_end ORDER BY slice != 'all', slice, day"
    )
    rows = client.rows(sql, parameters)
    by_slice: dict[str, list[tuple[object, ...]]] = {}
    for row in rows:
        by_slice.setdefault(row[0], []).append(row)
    return [_days(name, own, matured_s) for name, own in by_slice.items()]


def _days(name: str, rows: list[tuple[object, ...]], matured_s: int) -> ShadowDays:
    _, days, day_ends, newest_ends, missing, *sums = zip(*rows, strict=True)
    ends = np.array(day_ends, dtype=np.int64)
    reasons = sorted({reason for each in missing for reason in each})
    return ShadowDays(
        name,
        tuple(days),
        ends <= np.array(newest_ends, dtype=np.int64),
        ends <= matured_s,
        {column: np.array(values, dtype=np.float64) for column, values in zip(COUNTED, sums, strict=True)},
        {reason: np.array([each.get(reason, 0) for each in missing], dtype=np.float64) for reason in reasons},
    )
