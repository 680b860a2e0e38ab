"""The gate's decision as text and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from barograph_server.evaluation.suites.gate import SHOWN_ITEMS, GateDecision
from barograph_server.sketches.comparison.paired_items import PairedDifference, SuiteOutcome
from barograph_server.terminal import AlignedTable, Terminal, plural
from barograph_server.warehouse.evaluation.eval_runs import StoredRun

STYLES = {SuiteOutcome.ACCEPT: "green", SuiteOutcome.HOLD: "red", SuiteOutcome.INSUFFICIENT: "yellow"}


def gate_json(decision: GateDecision) -> dict[str, Any]:
    """Convert a decision to JSON values; an unknown number is null."""
    return {
        "model": decision.model,
        "candidate": decision.candidate,
        "outcome": decision.outcome.value,
        "suites": [
            {
                "suite": each.suite,
                "outcome": each.outcome.value,
                "obstacle": each.obstacle,
                "margin": each.rules.margin,
                "least_items": each.rules.items,
                "candidate_run": each.candidate and each.candidate.run_id,
                "candidate_unscored": each.candidate and each.candidate.unscored,
                "candidate_mean": each.candidate and each.candidate.mean,
                "accepted_run": each.accepted and each.accepted.run_id,
                "accepted_mean": each.accepted and each.accepted.mean,
                **_difference_json(each.difference),
                "only_accepted": list(each.only_accepted),
                "only_candidate": list(each.only_candidate),
            }
            for each in decision.suites
        ],
    }


def _difference_json(difference: PairedDifference | None) -> dict[str, Any]:
    if difference is None:
        return dict.fromkeys(("items", "better", "worse", "difference", "low", "high"))
    value = difference.value if math.isfinite(difference.value) else None
    counts = {"items": difference.items, "better": difference.better, "worse": difference.worse}
    return {**counts, "difference": value, "low": difference.low, "high": difference.high}


def print_gate(terminal: Terminal, decision: GateDecision) -> None:
    """Print a line for each suite, the items that only one run has, and the decision."""
    terminal.line(f"{decision.model}: candidate {decision.candidate}", "bold")
    table = AlignedTable(
        *("suite", "accepted", "score", "candidate score", "difference", "95 % interval", "margin", "items"),
        *("better", "worse", "outcome"),
        numbers=("score", "candidate score", "difference", "margin", "items", "better", "worse"),
    )
    for each in decision.suites:
        difference = each.difference
        known = difference is not None and difference.items > 0
        table.row(
            each.suite,
            "–" if each.accepted is None else each.accepted.prompt or each.accepted.version,
            "–" if each.accepted is None else f"{100 * each.accepted.mean:.1f} %",
            "–" if each.candidate is None else f"{100 * each.candidate.mean:.1f} %",
            f"{100 * difference.value:+.1f}" if difference is not None and known else "–",
            f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}" if difference is not None and known else "–",
            f"-{100 * each.rules.margin:g}",
            "–" if difference is None else str(difference.items),
            "–" if difference is None else str(difference.better),
            "–" if difference is None else str(difference.worse),
            each.outcome.value,
            style=STYLES[each.outcome],
        )
    terminal.table(table)
    terminal.line("Differences, in points, are candidate minus accepted run, of the items that both have.")
    for each in decision.suites:
        terminal.line(f"{each.suite}: candidate {_run_text(each.candidate)}; accepted {_run_text(each.accepted)}")
        for side, items in (("accepted run", each.only_accepted), ("candidate", each.only_candidate)):
            if items:
                terminal.line(f"{each.suite}: only the {side} has {_listed(items)}", "yellow")
        if each.obstacle:
            terminal.line(f"{each.suite}: {each.obstacle}", "yellow")
    terminal.line(f"decision: {decision.outcome.value}", "bold")


def _run_text(run: StoredRun | None) -> str:
    if run is None:
        return "no run"
    unscored = f", {run.unscored:,} without a score" if run.unscored else ""
    return f"run {run.run_id} ({plural(run.samples + run.unscored, 'answer')}{unscored})"


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN_ITEMS} more" if len(items) > SHOWN_ITEMS else ""
    return f"{plural(len(items), 'item')}: {', '.join(items[:SHOWN_ITEMS])}{more}"
