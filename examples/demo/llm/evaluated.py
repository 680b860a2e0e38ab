"""What evaluators say of the support bot's answers."""

from __future__ import annotations

from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.llm.training import EVALUATORS, MODEL
from barograph_server.examples.demo.queries import DemoQuery, answers_with_text, evaluation_counts
from barograph_server.warehouse.client import Client

_CHECK = next(name for name, each in EVALUATORS.items() if each.check)


def unevaluated(client: Client) -> int:
    """Return how many answers with text the check has not evaluated yet."""
    return answers_with_text(client, MODEL) - evaluation_counts(client, f"{MODEL}.{_CHECK}").answers


def evaluation_expectation(evaluations: DemoQuery, remaining: int) -> DemoExpectation:
    """Compare the evaluations with the answers.

    Args:
        evaluations: the result of `evaluation_results`.
        remaining: the result of `unevaluated`.
    """
    counts = {str(row[0]): int(row[2]) for row in evaluations}
    versions = [str(row[1]) for row in evaluations]
    return DemoExpectation(
        "each answer has an evaluation by the check, and a judge evaluated some",
        remaining == 0 and counts.keys() == EVALUATORS.keys() and "none" not in versions,
        ", ".join(f"{name} {count}" for name, count in counts.items()),
    )
