"""Daily sums of a candidate's pairs from `shadow_pairs`, by the local days of the model's users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sketches.baseline.baseline import ALL
from warehouse.client import Client
from warehouse.tables import SCHEMAS

FloatArray = NDArray[np.float64]

COUNTED = (
    *("requests", "pairs", "compared", "agreed", "labelled", "both_right", "primary_right", "candidate_right"),
    *("missing_labelled", "missing_right", "scored", "loss_primary", "loss_candidate", "brier_primary"),
    *("brier_candidate", "error_primary", "error_candidate", "timed", "log_latency"),
)
"""Columns of `shadow_pairs` that add up over windows."""
SCALE = 2**50
"""Factor of sums with decimals, as in `warehouse.scoring.pairs`: they are whole numbers while they are added up."""
_DECIMAL = frozenset(name for name in COUNTED if pa.types.is_floating(SCHEMAS["shadow_pairs"].field(name).type))
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
    return days_of(read_totals(client, parameters), matured_until(client, model, of))


def matured_until(client: Client, model: str, of: str = "") -> int:
    """Return the time (Unix seconds) up to which the labels of all windows of a version are mature; 0 without any.

    Args:
        client: the connection to read from.
        model: the model.
        of: the version; empty for all versions.
    """
    parameters = {"model": model, "of": of}
    ((immature_s,),) = client.rows(
        "SELECT toUnixTimestamp(minOrNull(window_start)) FROM latest_performance WHERE model = {model:String} "
        "AND ({of:String} = '' OR version = {of:String}) AND slice = 'all' AND NOT mature "
        "AND dateDiff('second', window_start, window_end) "
        "= (SELECT min(dateDiff('second', window_start, window_end)) FROM latest_performance "
        "WHERE model = {model:String})",
        parameters,
    )
    ((newest_s, n_measured),) = client.rows(
        "SELECT toUnixTimestamp(max(window_end)), count() FROM latest_performance WHERE model = {model:String} "
        "AND ({of:String} = '' OR version = {of:String}) AND slice = 'all'",
        parameters,
    )
    return int(0 if not n_measured else newest_s if immature_s is None else immature_s)


@dataclass(slots=True)
class PairTotals:
    """Sums of pairs by slice and local day, in whole numbers, so that any order of addition gives the same sums."""

    rows: dict[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    """(slice, day) → end of the day (Unix seconds), missing by reason, then the columns of `COUNTED`; those with
    decimals are multiplied by `SCALE`."""
    newest_end_s: int = 0
    """End of the newest score window."""

    def add(self, other: PairTotals, sign: int = 1) -> None:
        """Add the totals of other windows, or subtract them with the sign −1. Days without requests are left out."""
        self.newest_end_s = max(self.newest_end_s, other.newest_end_s)
        for key, row in other.rows.items():
            own = self.rows.get(key, (row[0], {}, *(0 for _ in COUNTED)))
            result = (row[0], *(_added(one, more, sign) for one, more in zip(own[1:], row[1:], strict=True)))
            if result[2 + COUNTED.index("requests")]:
                self.rows[key] = result
            else:
                self.rows.pop(key, None)


def read_totals(
    client: Client, parameters: Mapping[str, Any], source: str = "shadow_pairs FINAL", settings: str = ""
) -> PairTotals:
    """Read the totals of all windows with requests.

    Args:
        client: the connection to read from.
        parameters: `model`, `candidate`, `of`, `basis`, `zone`, and those of the source.
        source: SQL with the columns of `shadow_pairs`.
        settings: a SETTINGS clause of the query.
    """
    sums = ", ".join(f"sum({_whole(name)})" for name in COUNTED)
    rows = client.rows(
        "SELECT slice, toString(toDate(window_start, {zone:String})) AS day, "  # noqa: S608 - our names
        "toUnixTimestamp(toDateTime(toDate(window_start, {zone:String}) + 1, {zone:String})) AS day_end, "
        f"toUnixTimestamp(max(window_start) + max(window_s)), sumMap(missing), {sums} FROM {source} "
        "WHERE model = {model:String} AND candidate = {candidate:String} AND of = {of:String} "
        f"AND basis = {{basis:String}} AND requests > 0 GROUP BY slice, day, day_end {settings}",
        parameters,
    )
    newest_end_s = max((row[3] for row in rows), default=0)
    return PairTotals({(row[0], row[1]): (row[2], *row[4:]) for row in rows}, newest_end_s)


def days_of(totals: PairTotals, matured_s: int) -> list[ShadowDays]:
    """Return the daily sums of every slice, `all` first.

    Args:
        totals: the totals of all windows.
        matured_s: the time up to which labels are mature, Unix seconds.
    """
    by_slice: dict[str, list[tuple[Any, ...]]] = {}
    for (name, day), row in sorted(totals.rows.items(), key=lambda item: (item[0][0] != ALL, item[0])):
        by_slice.setdefault(name, []).append((day, *row))
    return [_days(name, rows, totals.newest_end_s, matured_s) for name, rows in by_slice.items()]


def _days(name: str, rows: list[tuple[Any, ...]], newest_end_s: int, matured_s: int) -> ShadowDays:
    days, day_ends, missing, *sums = zip(*rows, strict=True)
    ends = np.array(day_ends, dtype=np.int64)
    reasons = sorted({reason for each in missing for reason in each})
    return ShadowDays(
        name,
        tuple(days),
        ends <= newest_end_s,
        ends <= matured_s,
        {
            column: np.array([float(value) for value in values]) / (SCALE if column in _DECIMAL else 1)
            for column, values in zip(COUNTED, sums, strict=True)
        },
        {reason: np.array([float(each.get(reason, 0)) for each in missing]) for reason in reasons},
    )


def _whole(column: str) -> str:
    return f"toInt128(round({column} * {SCALE}))" if column in _DECIMAL else column


def _added(one: Any, other: Any, sign: int) -> Any:
    if isinstance(one, dict):
        sums = {key: one.get(key, 0) + sign * other.get(key, 0) for key in one | other}
        return {key: value for key, value in sums.items() if value}
    return one + sign * other
