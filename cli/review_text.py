"""Output of `barograph review`."""

from __future__ import annotations

from typing import Any

from barograph_server.sketches.judges.agreement import LEAST_ITEMS
from barograph_server.terminal import AlignedTable, Terminal, percentage, plural
from barograph_server.warehouse.evaluation.reviews import ReviewAgreement

MAX_LISTED = 50
"""Disagreements that are printed; `--json` has all."""


def agreement_json(evaluator_model: str, result: ReviewAgreement) -> dict[str, Any]:
    """Convert the agreement for `Terminal.json`."""
    return {
        "evaluator_model": evaluator_model,
        "labels": result.labels,
        "reviewers": list(result.reviewers),
        "answers_with_two_labels": result.agreement.items,
        "alpha": result.agreement.alpha,
        "low": result.agreement.low,
        "high": result.agreement.high,
        "disagreements": [
            {"id": each.id, "version": each.version, "labels": each.labels} for each in result.disagreements
        ],
        "weeks": [
            {
                "reviewer": each.reviewer,
                "week": each.week.isoformat(),
                "labels": each.labels,
                "faulty": each.faulty,
                "unsure": each.unsure,
            }
            for each in result.weeks
        ],
    }


def print_agreement(terminal: Terminal, evaluator_model: str, result: ReviewAgreement) -> None:
    """Print alpha, the answers with different labels, and each reviewer's weeks."""
    terminal.line(
        f"{evaluator_model}: {plural(result.labels, 'label')} of {plural(len(result.reviewers), 'reviewer')}", "bold"
    )
    agreement = result.agreement
    if agreement.items == 0:
        terminal.line("No answer has two labels yet: let a second person run `barograph review serve`.")
    else:
        interval = (
            f"interval {agreement.low:.2f} to {agreement.high:.2f}"
            if agreement.low == agreement.low
            else f"no interval: it needs {LEAST_ITEMS} answers with equal labels and {LEAST_ITEMS} with different ones"
        )
        alpha = f"{agreement.alpha:.2f}" if agreement.alpha == agreement.alpha else "undefined: all labels are the same"
        terminal.line(f"alpha {alpha} ({interval}), {plural(agreement.items, 'answer')} with two labels")
    if result.disagreements:
        terminal.line()
        terminal.line(f"{plural(len(result.disagreements), 'answer')} with different labels:")
        table = AlignedTable("id", "version", "labels")
        for answer in result.disagreements[:MAX_LISTED]:
            labels = ", ".join(f"{name}: {label}" for name, label in answer.labels.items())
            table.row(answer.id, answer.version, labels)
        terminal.table(table)
    if result.weeks:
        terminal.line()
        table = AlignedTable("reviewer", "week", "labels", "faulty", "unsure", numbers=("labels", "faulty", "unsure"))
        for week in result.weeks:
            decided = week.labels - week.unsure
            table.row(
                week.reviewer,
                week.week.isoformat(),
                f"{week.labels:,}",
                percentage(week.faulty / decided) if decided else "-",
                percentage(week.unsure / week.labels),
            )
        terminal.table(table)
