"""Signal: whether judges have drifted on their anchors, or cannot be compared any more."""

from __future__ import annotations

from collections.abc import Sequence

from barograph_server.warehouse.evaluation.anchor_runs import RUN
from barograph_server.warehouse.signals.literals import literal, literals
from barograph_server.warehouse.signals.signal import SURE, EventTimeRange, Facts, FactTime, Signal

DRIFTED, USED_UP = "{} has drifted", "{} has used up its bank"
"""Findings about a judge."""
REACH_S = 30 * 86_400
"""How long the newest run of a judge counts."""


def judge_findings(model: str, judges: Sequence[str]) -> Signal:
    """Return the signal of the findings about judges: 1 for each that holds after the judge's newest run, else 0.

    The newest run counts, of whatever version of the judge or its anchors: a new bank ends the findings about the
    judge before.

    Args:
        judges: its judges with anchors, as the contract names them.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        # Judges run on the wall clock, so their runs do not apply to replayed history.
        of_model = f"model = {literal(model)} AND {'0' if fact_time == 'ended' else '1'}"
        findings = (
            f"[(replaceOne({literal(DRIFTED)}, '{{}}', evaluator), has_drifted), "
            f"(replaceOne({literal(USED_UP)}, '{{}}', evaluator), runs_left = 0 AND kind = {literal(RUN)})]"
        )
        return (
            f"SELECT arrayJoin({findings}) AS finding, finding.1 AS key, '' AS version, "
            "toUInt32(ceil(toUnixTimestamp64Milli(at) / 1000)) AS until, until AS ended_at, until AS judged_at, "
            f"tuple(at, run_id) AS rank, tuple(toUInt8({SURE}), toFloat64(finding.2), nan, nan, 0.) AS verdict "
            f"FROM anchor_runs FINAL WHERE {of_model} AND evaluator IN {literals(judges)} "
            f"AND at > toDateTime64({period.start}, 3, 'UTC') AND at <= toDateTime64({period.end}, 3, 'UTC')"
        )

    keys = tuple(finding.format(judge) for judge in judges for finding in (DRIFTED, USED_UP))
    return Signal("finding", keys, 0.5, Facts(select, REACH_S), has_versions=False)
