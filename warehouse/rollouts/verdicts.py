"""The table `shadow_verdicts`: the looks at a candidate that are stored, and their rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.rollout.decision import CriterionVerdict, Outcome, ShadowDecision, SliceVerdict
from barograph_server.sketches.rollout.looks import LookDay
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring.pairs import OF_VERSIONS
from barograph_server.warehouse.scoring.rules import ShadowVersions
from barograph_server.warehouse.tables import SCHEMAS, insert_columns

DECISION = "decision"
"""The criterion of the row that describes the whole look."""
COLUMNS = tuple(SCHEMAS["shadow_verdicts"].names)

OUTCOMES_AFTER_PROMOTION = {Outcome.promote: "keep", Outcome.hold: "roll back"}
"""The decisions about a new primary, in words."""


class VerdictState(Enum):
    met = "met"
    worse = "worse"
    open = "open"
    """Not yet known."""
    insufficient = "insufficient"
    """Not enough data."""


@dataclass(frozen=True, slots=True)
class StoredLooks:
    """The looks of a candidate that the table holds."""

    looks: frozenset[LookDay]
    """Complete looks."""
    has_others: bool
    """Whether rows are there that belong to none of the days and inputs of `looks`."""
    newest_ms: int
    """Largest `judged_at`, in Unix milliseconds; 0 without rows."""


def stored_looks(client: Client, model: str, versions: ShadowVersions) -> StoredLooks:
    """Read which looks at a candidate are stored."""
    parameters = {"model": model, "decision": DECISION, **versions._asdict()}
    rows = client.rows(
        "SELECT toString(day), inputs, countIf(criterion = {decision:String}) FROM shadow_verdicts FINAL "
        f"WHERE {OF_VERSIONS} GROUP BY day, inputs",
        parameters,
    )
    # Rows that were removed count too: without FINAL.
    ((newest_ms,),) = client.rows(
        f"SELECT toUnixTimestamp64Milli(max(judged_at)) FROM shadow_verdicts WHERE {OF_VERSIONS}", parameters
    )
    looks = frozenset(LookDay(day, inputs) for day, inputs, decisions in rows if decisions)
    return StoredLooks(looks, len(looks) < len(rows), int(newest_ms))


def look_rows(
    model: str,
    versions: ShadowVersions,
    basis: str,
    timezone: str,
    look_day: LookDay,
    decision: ShadowDecision,
    judged_ms: int,
    *,
    after_promotion: bool = False,
) -> list[dict[str, Any]]:
    """Return the rows of one look: the decision, the criteria, and the slices with pairs.

    Args:
        versions: the candidate and the version that answers the same requests.
        timezone: whose midnights divide days.
        judged_ms: the scorer's clock, in Unix milliseconds.
        after_promotion: whether the decision is about the new primary.
    """
    outcome = decision.outcome
    own_day = date.fromisoformat(look_day.day)
    midnight = datetime.combine(own_day + timedelta(days=1), datetime.min.time(), ZoneInfo(timezone))
    shared = {
        "model": model,
        **versions._asdict(),
        "basis": basis,
        "day": own_day,
        "day_end": round(midnight.timestamp()),
        "outcome": OUTCOMES_AFTER_PROMOTION.get(outcome, outcome.value) if after_promotion else outcome.value,
        "after_promotion": int(after_promotion),
        "inputs": look_day.inputs,
        "is_removed": 0,
        "judged_at": judged_ms,
    }
    slices = [_slice_row(each) for each in decision.slices if each.days]
    criteria = [_criterion_row(each) for each in decision.criteria]
    return [shared | row for row in (_decision_row(decision), *criteria, *slices)]


def write_looks(client: Client, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows of whole looks in one insert: the rows of one day are in one part of the table."""
    insert_columns(client, "shadow_verdicts", {name: [row[name] for row in rows] for name in COLUMNS})


def remove_others(
    client: Client, model: str, versions: ShadowVersions, looks: Sequence[LookDay], judged_ms: int
) -> None:
    """Remove the rows of a candidate that belong to other looks: of days, slices or criteria that no longer exist.

    Args:
        versions: the candidate and the version that answers the same requests.
        looks: all looks whose rows stay.
        judged_ms: the time of removal, in Unix milliseconds; after that of the rows.
    """
    columns = {name: name for name in COLUMNS} | {
        "is_removed": "1 AS is_removed",
        "judged_at": "fromUnixTimestamp64Milli({judged_ms:Int64}, 'UTC') AS judged_at",
    }
    client.insert_selected(
        "shadow_verdicts",
        COLUMNS,
        f"SELECT {', '.join(columns.values())} FROM shadow_verdicts FINAL "
        f"WHERE {OF_VERSIONS} AND concat(toString(day), inputs) NOT IN {{looks:Array(String)}}",
        {
            "model": model,
            **versions._asdict(),
            "looks": [each.day + each.inputs for each in looks],
            "judged_ms": judged_ms,
        },
    )


def criterion_state(verdict: CriterionVerdict) -> VerdictState:
    if verdict.is_harmed:
        return VerdictState.worse
    if verdict.is_met:
        return VerdictState.met
    is_known = verdict.days >= verdict.least_days and math.isfinite(verdict.low)
    return VerdictState.open if is_known else VerdictState.insufficient


_OF_INTERVAL = ("value", "low", "high", "days")
_STATES = {Outcome.promote: VerdictState.met, Outcome.hold: VerdictState.worse, Outcome.insufficient: VerdictState.open}


def _decision_row(decision: ShadowDecision) -> dict[str, Any]:
    state = _STATES[decision.outcome]
    if state == VerdictState.open and all(not math.isfinite(each.low) for each in decision.criteria):
        state = VerdictState.insufficient
    return {
        "slice": ALL,
        "criterion": DECISION,
        **dict.fromkeys(("value", "low", "high", "least_low", "margin"), math.nan),
        "days": max(each.days for each in decision.criteria),
        "least_days": max(each.least_days for each in decision.criteria),
        "days_left": decision.days_left,
        "evidence": decision.log_mean_evidence if decision.judged_slices else math.nan,
        "state": state.value,
    }


def _criterion_row(verdict: CriterionVerdict) -> dict[str, Any]:
    return {
        "slice": ALL,
        "criterion": verdict.criterion.name,
        **{name: getattr(verdict, name) for name in (*_OF_INTERVAL, "least_low", "least_days", "days_left")},
        "margin": verdict.criterion.margin,
        "evidence": math.nan,
        "state": criterion_state(verdict).value,
    }


def _slice_row(verdict: SliceVerdict) -> dict[str, Any]:
    state = VerdictState.worse if verdict.is_harmed else VerdictState.open
    if math.isnan(verdict.log_evidence):
        state = VerdictState.insufficient
    return {
        "slice": verdict.name,
        "criterion": verdict.criterion,
        **{name: getattr(verdict, name) for name in _OF_INTERVAL},
        "least_low": verdict.low,
        "margin": math.nan,
        "least_days": 0,
        "days_left": math.nan,
        "evidence": verdict.log_evidence,
        "state": state.value,
    }
