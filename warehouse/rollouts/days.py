"""Daily sums of a candidate's pairs from `shadow_pairs`, by the local days of the model's users."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.rollout.exceedances import bucket_histogram
from barograph_server.sketches.rollout.shadow_days import (
    COPY_SUMS,
    COUNTED,
    HISTOGRAMS,
    SLO_TIMED,
    FloatArray,
    ShadowDays,
)
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring.cell_counts import SCALE, whole
from barograph_server.warehouse.scoring.pairs import OF_PAIRS
from barograph_server.warehouse.tables import SCHEMAS

_SETTINGS_SUMS = (*COPY_SUMS, "slow_primary", "slow_candidate", "costed")
"""Columns that add up only over windows that were counted with the same settings."""
SPENT = ("spent_primary", "spent_candidate")
_DECIMAL = frozenset(name for name in COUNTED if pa.types.is_floating(SCHEMAS["shadow_pairs"].field(name).type))
_SAME_SETTINGS = "settings = {settings:String}"


def shadow_days(
    client: Client, model: str, candidate: str, of: str, basis: str, settings: str, timezone: str
) -> list[ShadowDays]:
    """Read the daily sums of every slice, `all` first.

    Args:
        of: the version whose answers are used.
        settings: the hash of the settings of pairs.
    """
    parameters = {"model": model, "candidate": candidate, "of": of, "basis": basis, "settings": settings}
    parameters["zone"] = timezone
    return days_of(read_totals(client, parameters), matured_until(client, model, of))


def matured_until(client: Client, model: str, of: str = "") -> int:
    """Return the time (Unix seconds) up to which the labels of all windows of a version are mature; 0 without any.

    Args:
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
    """(slice, day) → end of the day (Unix seconds), the maps of `SPENT`, missing by reason, the maps of `HISTOGRAMS`,
    `SLO_TIMED`, then the columns of `COUNTED`; those with decimals are multiplied by `SCALE`."""
    newest_end_s: int = 0
    """End of the newest score window."""
    cost_metrics: frozenset[str] = frozenset()
    """Metrics that have a price."""

    def add(self, other: PairTotals) -> None:
        self.newest_end_s = max(self.newest_end_s, other.newest_end_s)
        self.cost_metrics |= other.cost_metrics
        for key, row in other.rows.items():
            own = self.rows.get(key, tuple({} if isinstance(value, dict) else 0 for value in row))
            self.rows[key] = (row[0], *(_added(one, more) for one, more in zip(own[1:], row[1:], strict=True)))


def read_totals(
    client: Client, parameters: Mapping[str, Any], source: str = "shadow_pairs FINAL", query_settings: str = ""
) -> PairTotals:
    """Read the totals of all windows with requests.

    Args:
        parameters: `model`, `candidate`, `of`, `basis`, `settings`, `zone`, and those of the source. Columns that
            depend on the settings of pairs count windows with these settings only.
        source: SQL with the columns of `shadow_pairs`.
    """
    sums = ", ".join(
        f"sumIf({name}, {_SAME_SETTINGS})" if name in _SETTINGS_SUMS else f"sum({_whole(name)})" for name in COUNTED
    )
    spent = [f"sumForEachIf(arrayMap(v -> {whole('v')}, {name}), {_SAME_SETTINGS})" for name in SPENT]
    rows = client.rows(
        "SELECT slice, toString(toDate(window_start, {zone:String})) AS day, "
        "toUnixTimestamp(toDateTime(toDate(window_start, {zone:String}) + 1, {zone:String})) AS day_end, "
        "toUnixTimestamp(max(window_start) + max(window_s)), "
        f"anyIf(cost_metrics, {_SAME_SETTINGS}), "
        f"{', '.join(spent)}, sumMap(missing), {', '.join(f'sumMap({name})' for name in HISTOGRAMS)}, "
        f"sumIf(timed, {_SAME_SETTINGS} AND slow_ms > 0), {sums} FROM {source} "
        f"WHERE {OF_PAIRS} AND requests > 0 GROUP BY slice, day, day_end {query_settings}",
        parameters,
    )
    cost_metrics = frozenset(metric for row in rows for metric in row[4])
    totals = PairTotals(newest_end_s=max((row[3] for row in rows), default=0), cost_metrics=cost_metrics)
    for name, day, day_end, _, metrics, spent_primary, spent_candidate, *values in rows:
        maps = (dict(zip(metrics, each, strict=False)) for each in (spent_primary, spent_candidate))
        totals.rows[name, day] = (day_end, *maps, *values)
    return totals


def days_of(totals: PairTotals, matured_s: int) -> list[ShadowDays]:
    """Return the daily sums of every slice, `all` first, with labels mature until `matured_s` (Unix seconds)."""
    by_slice: dict[str, list[tuple[Any, ...]]] = {}
    for (name, day), row in sorted(totals.rows.items(), key=lambda item: (item[0][0] != ALL, item[0])):
        by_slice.setdefault(name, []).append((day, *row))
    return [_days(name, rows, totals, matured_s) for name, rows in by_slice.items()]


def _days(name: str, rows: list[tuple[Any, ...]], totals: PairTotals, matured_s: int) -> ShadowDays:
    days, day_ends, spent_primary, spent_candidate, missing, *further = zip(*rows, strict=True)
    counts, (slo_timed, *sums) = further[: len(HISTOGRAMS)], further[len(HISTOGRAMS) :]
    ends = np.array(day_ends, dtype=np.int64)
    values = {
        column: np.array([float(value) for value in column_values]) / (SCALE if column in _DECIMAL else 1)
        for column, column_values in zip(COUNTED, sums, strict=True)
    }
    return ShadowDays(
        name,
        tuple(days),
        ends <= totals.newest_end_s,
        ends <= matured_s,
        values | {SLO_TIMED: np.array(slo_timed, np.float64)},
        _by_key(missing, {reason for each in missing for reason in each}),
        {column: _HISTOGRAM_OF[column](each) for column, each in zip(HISTOGRAMS, counts, strict=True) if any(each)},
        _by_key(spent_primary, totals.cost_metrics, SCALE),
        _by_key(spent_candidate, totals.cost_metrics, SCALE),
    )


def _by_key(maps: Sequence[Mapping[str, Any]], keys: Iterable[str], scale: int = 1) -> dict[str, FloatArray]:
    return {key: np.array([float(each.get(key, 0)) for each in maps]) / scale for key in sorted(keys)}


def _score_histograms(days: Sequence[Mapping[int, int]]) -> FloatArray:
    """Return labelled rows of shape (t, bins, 3) from counts by 2 × bin, + 1 for positive labels."""
    bins = max(number for each in days for number in each) // 2 + 1
    histograms = np.zeros((len(days), bins, 3))
    for histogram, counts in zip(histograms, days, strict=True):
        for number, count in counts.items():
            histogram[number // 2, 0] += count
            histogram[number // 2, 2] += count * (number % 2)
    return histograms


def _latency_histograms(days: Sequence[Mapping[int, int]]) -> FloatArray:
    return np.stack([bucket_histogram(list(each), list(each.values())) for each in days])


_HISTOGRAM_OF: dict[str, Callable[[Sequence[Mapping[int, int]]], FloatArray]] = {
    **dict.fromkeys(HISTOGRAMS[:2], _score_histograms),
    **dict.fromkeys(HISTOGRAMS[2:], _latency_histograms),
}


def _whole(column: str) -> str:
    """Return a column as whole numbers; absolute errors, which can have any unit, have 256 bits."""
    integer = "toInt256" if column.startswith("error_") else "toInt128"
    return whole(column, integer) if column in _DECIMAL else column


def _added(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {key: one.get(key, 0) + other.get(key, 0) for key in one | other}
    return one + other
