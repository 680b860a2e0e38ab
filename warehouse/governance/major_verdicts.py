"""Verdicts that became major, and when their fields moved."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.detection.onset import estimate_onset
from barograph_server.sketches.drift.rates import RATE_KINDS
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import rows_of

LEVELS_S = 7 * 86_400
"""How long a level lasts while there is too little data: within it, a major field does not become major again."""
MAX_STEPS = 2_000
"""Panes are merged so that an estimate has at most about so many."""

_MAJOR = """
FROM
(
    SELECT *, lagInFrame(level) OVER (
        PARTITION BY version, field, signal, window
        ORDER BY toUnixTimestamp(window_end) RANGE BETWEEN {levels_s:UInt32} PRECEDING AND CURRENT ROW
    ) AS level_before
    FROM
    (
        SELECT version, baseline_id, field, 'psi' AS signal, window, window_start, window_end, phi, level
        FROM latest_drift
        WHERE model = {model:String} AND slice = 'all' AND window_end > {start:DateTime} - {levels_s:UInt32}
            AND window_end <= {end:DateTime} AND level != 'insufficient'
        UNION ALL
        SELECT version, baseline_id, field, kind AS signal, window, window_start, window_end, phi, level
        FROM latest_rates
        WHERE model = {model:String} AND slice = 'all' AND window_end > {start:DateTime} - {levels_s:UInt32}
            AND window_end <= {end:DateTime} AND level != 'insufficient'
    )
)
WHERE level = 'major' AND level_before != 'major' AND window_end > {start:DateTime}
    AND (level_before != '' OR 2 * toUnixTimestamp(window_start) - toUnixTimestamp(window_end) >= (
        SELECT toUnixTimestamp(min(pane_start)) FROM volume WHERE model = {model:String} AND slice = 'all' AND n > 0
    ))
ORDER BY window_end, field, signal, version, window
"""
_CELLS = {
    "psi": "counts",
    **{kind.name: f"[{kind.column.key}, if(n > {kind.column.key}, n - {kind.column.key}, 0)]" for kind in RATE_KINDS},
    "invalid": "[invalid, n]",
    "error": "[errors, n - errors]",
}
"""Signal of a verdict → the cells that moved. Of a rate they are the events of its kind, and the others."""


@dataclass(frozen=True, slots=True)
class MajorVerdict:
    """The first major verdict after one that was not, of a field and window."""

    version: str
    baseline_id: str
    field: str
    signal: str
    """`psi`, or the kind of a rate."""
    window: str
    window_start: datetime
    window_end: datetime
    phi: float

    @property
    def search_start(self) -> datetime:
        """The time from which the move is searched: as long before the window as it lasts."""
        return self.window_start - (self.window_end - self.window_start)


@dataclass(frozen=True, slots=True)
class OnsetInterval:
    """When a field moved, with its 95 % interval."""

    at: datetime
    low: datetime
    high: datetime


def models_with_major_verdicts(client: Client, start: datetime) -> set[str]:
    """Return the models with a major verdict after a time, from the projections by level, so without reading fields."""
    where = "WHERE slice = 'all' AND level = 'major' AND window_end > {start:DateTime}"
    tables = "drift_levels", "rate_levels"
    rows = client.rows(
        " UNION DISTINCT ".join(f"SELECT DISTINCT model FROM {table} {where}" for table in tables), {"start": start}
    )
    return {str(model) for (model,) in rows}


def read_major_verdicts(client: Client, model: str, start: datetime, end: datetime) -> list[MajorVerdict]:
    """Read the verdicts of a model that became major in (start, end].

    A window with too little data neither ends a major level nor begins one. The first level of a field has no causes if
    the model has no traffic before the time in which its move would be searched: nothing changed then.
    """
    parameters = {"model": model, "levels_s": LEVELS_S, "start": start, "end": end}
    return rows_of(client, MajorVerdict, _MAJOR, parameters)


def read_onset(client: Client, model: str, verdict: MajorVerdict) -> OnsetInterval | None:
    """Estimate from panes when the field of a verdict moved: in its window, or in as much time before it.

    The first traffic of a version counts as an onset if nothing moved after it.
    """
    start = verdict.search_start
    # Whole minutes, as panes have.
    step_s = 60 * math.ceil((verdict.window_end - start).total_seconds() / MAX_STEPS / 60)
    table, of_field = ("all_volume", "") if verdict.signal == "error" else ("all_panes", "AND field = {field:String} ")
    rows = client.rows(
        f"SELECT toUnixTimestamp(toStartOfInterval(pane_start, toIntervalSecond({{step:UInt32}}))) AS step_start, "
        f"sumForEach(arrayMap(count -> toInt64(count), {_CELLS[verdict.signal]})) AS sums, any(pane_s) FROM {table} "
        "WHERE model = {model:String} AND version = {version:String} AND baseline_id = {baseline:String} "
        f"AND slice = 'all' {of_field}AND pane_start >= {{start:DateTime}} AND pane_start < {{end:DateTime}} "
        "GROUP BY step_start HAVING arraySum(sums) > 0 ORDER BY step_start",
        {
            **{"model": model, "version": verdict.version, "baseline": verdict.baseline_id, "field": verdict.field},
            **{"start": start, "end": verdict.window_end, "step": step_s},
        },
    )
    if not rows:
        return None
    starts = [int(each[0]) for each in rows]
    step_s = max(step_s, *(int(each[2]) for each in rows))
    counts: NDArray[np.int64] = np.array([each[1] for each in rows], dtype=np.int64)
    onset = estimate_onset(counts, verdict.phi)
    if onset is not None:
        # The change lies after the start of the last pane with traffic before it.
        seconds = starts[onset.pane], starts[onset.low - 1], starts[onset.high] + step_s
    else:
        ((first, n),) = client.rows(
            "SELECT toUnixTimestamp(min(pane_start)), count() FROM volume "
            "WHERE model = {model:String} AND version = {version:String} AND slice = 'all' AND n > 0",
            {"model": model, "version": verdict.version},
        )
        if not n or first < start.timestamp():
            return None
        seconds = first, first - step_s, first + step_s
    return OnsetInterval(*(datetime.fromtimestamp(each, UTC) for each in seconds))
