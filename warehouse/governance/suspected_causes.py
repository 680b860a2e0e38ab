"""Finds the changes that may have caused each verdict that became major, and stores them.

The onset of a move is estimated from panes (`sketches.detection.onset`), and the changes before it are ranked
(`warehouse.governance.change_ranking`). The computation reads only what is stored, so it can be repeated at any time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from barograph.contract import Contract
from numpy.typing import NDArray

from barograph_server.sketches.detection.onset import estimate_onset
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.change_ranking import OnsetInterval, RankedChange, rank_changes
from barograph_server.warehouse.governance.changes import read_changes
from barograph_server.warehouse.queries import rows_of
from barograph_server.warehouse.tables import insert_rows

LEVELS_FROM = timedelta(days=7)
"""How long before the range levels are read: a field that was major in this time, and had too little data since, did
not become major again."""
LOOKBACK = timedelta(days=1)
"""How long before the panes of a verdict changes are searched."""
MAX_STEPS = 2_000
"""Panes are merged so that an estimate has at most about so many."""
N_STORED = 5
"""Rows of each verdict. Fewer changes leave rows without a kind, so that a repeated computation replaces all."""
NEVER = datetime.fromtimestamp(0, UTC)

_MAJOR = """
FROM
(
    SELECT *, lagInFrame(level) OVER (
        PARTITION BY version, field, signal, window ORDER BY window_end ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS level_before
    FROM
    (
        SELECT version, baseline_id, field, 'psi' AS signal, window, window_start, window_end, phi, level
        FROM latest_drift
        WHERE model = {model:String} AND slice = 'all' AND window_end > {levels_from:DateTime}
            AND window_end <= {end:DateTime} AND level != 'insufficient'
        UNION ALL
        SELECT version, baseline_id, field, kind AS signal, window, window_start, window_end, phi, level
        FROM latest_rates
        WHERE model = {model:String} AND slice = 'all' AND window_end > {levels_from:DateTime}
            AND window_end <= {end:DateTime} AND level != 'insufficient'
    )
)
WHERE level = 'major' AND level_before != 'major' AND window_end > {start:DateTime}
ORDER BY window_end, field, signal, version, window
"""
_RATE_CELLS = {
    **{kind: f"[{kind}, if(n > {kind}, n - {kind}, 0)]" for kind in ("below", "above", "unseen")},
    "null": "[nulls, n - nulls]",
    "invalid": "[invalid, n]",
    "error": "[errors, n - errors]",
}
"""Signal of a rate → the events of its kind, and the others."""


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


@dataclass(frozen=True, slots=True)
class ExplainedVerdict:
    """A verdict that became major, the onset of the move, and the ranked changes."""

    model: str
    verdict: MajorVerdict
    onset: OnsetInterval | None
    """None: the move is not in the range of the panes, or too gradual to have a start."""
    ranked: tuple[RankedChange, ...]

    @property
    def text(self) -> str:
        """The most likely change and the onset as a sentence."""
        return " ".join(filter(None, (_onset_text(self.onset), _cause_text(self.ranked))))


def models_with_major_verdicts(client: Client, start: datetime) -> set[str]:
    """Return the models with a major verdict after a time, from the projections by level, so without reading fields."""
    where = "WHERE slice = 'all' AND level = 'major' AND window_end > {start:DateTime}"
    tables = "drift_levels", "rate_levels"
    rows = client.rows(
        " UNION DISTINCT ".join(f"SELECT DISTINCT model FROM {table} {where}" for table in tables),
        {"start": start},
    )
    return {str(model) for (model,) in rows}


OnsetCache = dict[tuple[str, MajorVerdict], OnsetInterval | None]
"""Onsets of verdicts by model, which need not be estimated again."""


def explain_verdicts(
    client: Client, contract: Contract, start: datetime, end: datetime, onsets: OnsetCache | None = None
) -> list[ExplainedVerdict]:
    """Find the verdicts of a model that became major in (start, end], and rank the changes before each.

    A window with too little data neither ends a major level nor begins one.

    Args:
        client: the connection.
        contract: the model's contract, which names the sources of its fields.
        start: end of the windows of the range, exclusive.
        end: end of the windows, inclusive.
        onsets: onsets that are known; those of other verdicts are added.

    Raises:
        WarehouseBusy: ClickHouse does not answer.
        WarehouseError: ClickHouse refuses.
    """
    parameters = {"model": contract.model, "levels_from": start - LEVELS_FROM, "start": start, "end": end}
    verdicts = rows_of(client, MajorVerdict, _MAJOR, parameters)
    if not verdicts:
        return []
    onsets = {} if onsets is None else onsets
    first = min(map(_range_start, verdicts)) - LOOKBACK
    changes = read_changes(client, contract.model, first, max(each.window_end for each in verdicts))
    explained = []
    for verdict in verdicts:
        sources = frozenset(name for name, each in contract.declared_sources.items() if verdict.field in each.fields)
        begin = _range_start(verdict) - LOOKBACK
        if (contract.model, verdict) not in onsets:
            onsets[contract.model, verdict] = read_onset(client, contract.model, verdict)
        onset = onsets[contract.model, verdict]
        ranked = rank_changes(
            (each for each in changes if begin <= each.changed_at < verdict.window_end), onset, sources, verdict.version
        )
        explained.append(ExplainedVerdict(contract.model, verdict, onset, tuple(ranked)))
    return explained


def read_onset(client: Client, model: str, verdict: MajorVerdict) -> OnsetInterval | None:
    """Estimate from panes when the field of a verdict moved: in its window, or in as much time before it.

    The first traffic of a version counts as an onset if nothing moved after it.
    """
    start = _range_start(verdict)
    # Whole minutes, as panes have.
    step_s = 60 * math.ceil((verdict.window_end - start).total_seconds() / MAX_STEPS / 60)
    table, cells = ("all_volume", _RATE_CELLS["error"]) if verdict.signal == "error" else ("all_panes", "counts")
    cells = _RATE_CELLS.get(verdict.signal, cells)
    of_field = "" if table == "all_volume" else "AND field = {field:String} "
    rows = client.rows(
        f"SELECT toUnixTimestamp(toStartOfInterval(pane_start, toIntervalSecond({{step:UInt32}}))) AS step_start, "
        f"sumForEach(arrayMap(count -> toInt64(count), {cells})) AS sums, any(pane_s) FROM {table} "
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


def store_causes(client: Client, explained: Sequence[ExplainedVerdict], now: datetime) -> None:
    """Write the ranked changes of verdicts; rows of an earlier computation no longer count."""
    insert_rows(client, "suspected_causes", [row for each in explained for row in _rows(each, now)])


def _range_start(verdict: MajorVerdict) -> datetime:
    return verdict.window_start - (verdict.window_end - verdict.window_start)


def _rows(explained: ExplainedVerdict, now: datetime) -> list[dict[str, object]]:
    verdict, onset = explained.verdict, explained.onset
    common: dict[str, object] = {
        "model": explained.model,
        "field": verdict.field,
        "signal": verdict.signal,
        "version": verdict.version,
        "window": verdict.window,
        "window_end": verdict.window_end,
        "onset": NEVER if onset is None else onset.at,
        "onset_low": NEVER if onset is None else onset.low,
        "onset_high": NEVER if onset is None else onset.high,
        "computed_at": now,
    }
    rows: list[dict[str, object]] = []
    for rank, each in enumerate([*explained.ranked, *[None] * N_STORED][:N_STORED], start=1):
        change = dict.fromkeys(("kind", "subject", "before", "after", "source", "owner"), "")
        evidence: dict[str, object] = dict.fromkeys(("relation", "timing", "likelihood"), "")
        if each is not None:
            change = {name: getattr(each.change, name) for name in change}
            evidence = {name: getattr(each, name) for name in evidence}
        text = ExplainedVerdict(explained.model, verdict, onset, () if each is None else (each,)).text
        changed_at = NEVER if each is None else each.change.changed_at
        rows.append({**common, **change, **evidence, "rank": rank, "changed_at": changed_at, "text": text})
    return rows


def _onset_text(onset: OnsetInterval | None) -> str:
    if onset is None:
        return ""
    return f"It moved between {onset.low:%Y-%m-%d %H:%M} and {_until(onset)} UTC."


def _until(onset: OnsetInterval) -> str:
    return f"{onset.high:%H:%M}" if onset.high.date() == onset.low.date() else f"{onset.high:%Y-%m-%d %H:%M}"


def _cause_text(ranked: Sequence[RankedChange]) -> str:
    if not ranked:
        return "No change is recorded before it."
    first = ranked[0]
    if first.likelihood == "unlikely":
        return "No recorded change explains it."
    change = first.change
    owner = f", owner {change.owner}" if change.owner else ""
    return f"{first.likelihood.capitalize()} cause: {change.title} at {change.changed_at:%Y-%m-%d %H:%M} UTC{owner}."
