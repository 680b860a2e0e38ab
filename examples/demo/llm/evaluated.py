"""What evaluators say of the support bot's answers."""

from __future__ import annotations

from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.llm.training import EVALUATORS, MODEL
from barograph_server.examples.demo.query_result import DemoQuery, query_rows
from barograph_server.warehouse.client import Client

_CHECK = next(name for name, each in EVALUATORS.items() if each.check)


def unevaluated(client: Client) -> int:
    """Return how many answers with text the check has not evaluated yet."""
    [(answers,)] = client.rows(
        "SELECT uniqExact(id) FROM all_predictions WHERE model = {model:String} AND error = '' "
        "AND context['answer_text'] != ''",
        {"model": MODEL},
    )
    [(evaluations,)] = client.rows(
        "SELECT uniqExact(id) FROM evaluations WHERE evaluator_model = {model:String}", {"model": f"{MODEL}.{_CHECK}"}
    )
    return int(answers) - int(evaluations)


def read_evaluations(client: Client) -> DemoQuery:
    """Read for each evaluator: its name, version, evaluations, those without a result, and the share called faulty."""
    return query_rows(
        client,
        "SELECT evaluator, evaluator_version AS version, count() AS evaluations, countIf(error != '') AS no_result,",
        "  round(100 * countIf(class = 'faulty') / greatest(1, countIf(class != '')), 1) AS flagged_percent",
        f"FROM evaluations WHERE model = '{MODEL}' GROUP BY evaluator, version ORDER BY evaluator, version",
    )


def evaluation_expectation(evaluations: DemoQuery, remaining: int) -> DemoExpectation:
    """Compare the evaluations with the answers.

    Args:
        evaluations: the result of `read_evaluations`.
        remaining: the result of `unevaluated`.
    """
    counts = {str(row[0]): int(row[2]) for row in evaluations}
    versions = [str(row[1]) for row in evaluations]
    return DemoExpectation(
        "each answer has an evaluation by the check, and a judge evaluated some",
        remaining == 0 and counts.keys() == EVALUATORS.keys() and "none" not in versions,
        ", ".join(f"{name} {count}" for name, count in counts.items()),
    )
