"""Text and JSON output of a decision."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from barograph.contract import ShadowTest

from cli.terminal import AlignedTable, Terminal, plural
from sketches.shadow.decision import CriterionVerdict, ShadowDecision
from warehouse.shadow.days import ShadowDays

REASON_TEXTS = {
    "primary-failed": "failed in the primary",
    "no-event": "without an event of the candidate",
    "error": "candidate errors",
    "timeout": "candidate time-outs",
    "wrong-output": "outputs of a wrong type",
    "closed": "pending at the end of the process",
    "skipped-sample": "outside the sample",
    "skipped-queue": "skipped: queue full",
    "skipped-breaker": "skipped: circuit breaker open",
    "skipped-budget": "skipped: budget used up",
}
"""Why a request has no pair, for people."""


def decision_json(model: str, shadow: ShadowTest, whole: ShadowDays, decision: ShadowDecision) -> dict[str, Any]:
    """Convert a decision to JSON values; numbers that are not finite become null."""
    return {
        "model": model,
        "candidate": shadow.candidate,
        "of": shadow.of,
        "outcome": decision.outcome.value,
        "days_left": _finite(decision.days_left),
        "requests": int(whole.sums["requests"].sum()),
        "pairs": int(whole.sums["pairs"].sum()),
        "missing": {reason: int(counts.sum()) for reason, counts in whole.missing.items()},
        "criteria": [
            {
                "name": each.criterion.name,
                "margin": each.criterion.margin,
                "days": each.days,
                "least_days": each.least_days,
                "value": _finite(each.value),
                "low": _finite(each.low),
                "high": _finite(each.high),
                "value_if_missing_are_worst": _finite(each.least_value),
                "is_met": each.is_met,
                "is_harmed": each.is_harmed,
                "days_left": _finite(each.days_left),
            }
            for each in decision.criteria
        ],
        "harmed_slices": [each.name for each in decision.harmed_slices],
        "some_slice_harmed": decision.some_slice_harmed,
        "judged_slices": decision.judged_slices,
    }


def print_decision(
    terminal: Terminal, model: str, shadow: ShadowTest, whole: ShadowDays, decision: ShadowDecision
) -> None:
    """Print the decision, its criteria and the requests without a pair."""
    terminal.line(f"{model}: version {shadow.candidate} beside version {shadow.of}", "bold")
    terminal.lines(_pairs(whole))
    table = AlignedTable(
        *("criterion", "difference", "95 % interval", "margin", "days", "needs", "state"),
        numbers=("difference", "margin", "days", "needs"),
    )
    for each in decision.criteria:
        table.row(
            each.criterion.name,
            _number(each.value),
            f"{_number(each.low)} to {_number(each.high)}",
            f"-{each.criterion.margin:.3g}",
            str(each.days),
            str(each.least_days),
            _state(each),
        )
    terminal.table(table)
    terminal.line("Differences are the candidate's quality minus that of the primary: above 0 is better.")
    for harmed in decision.harmed_slices:
        terminal.line(f"worse in {harmed.name} ({harmed.criterion})", "red")
    if decision.some_slice_harmed and not decision.harmed_slices:
        terminal.line("worse in some slice, but there is not enough evidence to name it", "yellow")
    left = decision.days_left
    forecast = f", about {plural(math.ceil(left), 'day')} left" if math.isfinite(left) and left > 0 else ""
    terminal.line(f"decision: {decision.outcome.value}{forecast}", "bold")


def _pairs(whole: ShadowDays) -> Iterator[str]:
    yield f"{int(whole.sums['requests'].sum()):,} requests = {int(whole.sums['pairs'].sum()):,} pairs"
    for reason, counts in whole.missing.items():
        yield f"  + {int(counts.sum()):,} {REASON_TEXTS.get(reason, reason)}"


def _state(verdict: CriterionVerdict) -> str:
    if verdict.is_harmed:
        return "worse"
    if verdict.is_met:
        return "met"
    if verdict.days < verdict.least_days:
        return f"too few days: {verdict.days} of {verdict.least_days}"
    if verdict.low > -verdict.criterion.margin:
        return "met, unless missing answers were wrong"
    return "not yet known"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "unknown"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
