"""What the pipeline found about the support bot, compared with what the bot and its server measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from barograph_server.examples.demo import queries
from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.llm.bot_process import BotCall
from barograph_server.examples.demo.llm.evaluated import evaluation_expectation, unevaluated
from barograph_server.examples.demo.llm.search import tables_with, topics_with
from barograph_server.examples.demo.llm.training import CANDIDATE, MODEL, PRICES, PRODUCTION
from barograph_server.examples.demo.queries import DemoQuery
from barograph_server.examples.demo.report import DemoReport, joined
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Client

FIRST_TOKEN_MS = 10.0
"""Largest difference between the first token of a span and that of the client, in milliseconds."""
NEAR_SHARE = 0.95
"""Least share of first tokens within that; on a busy machine some take longer to be noticed."""
LEAST_FACTS = 5
"""Running and waiting requests, tokens in and out, and whether the server answers are always there."""
LAST_CALLS = 50
"""The last calls, which are all after the rollback."""


@dataclass(frozen=True, slots=True)
class LlmFindings:
    """The rows of the pipeline beside the calls of the bot."""

    calls: Sequence[BotCall]
    by_prompt: DemoQuery
    """Per prompt: its name, generations, failed ones, mean input and output tokens, median of the time to first token
    and of the latency in ms."""
    looks: DemoQuery
    """The last look per criterion: criterion, difference, low, high, margin, generations of both, outcome."""
    rollback: tuple[str, ...] | None
    """The guard's change of the label; see `guard_change`."""
    topics: DemoQuery
    """The last window of each text feature: field, end, PSI, its interval, events, level."""
    evaluations: DemoQuery
    """Per evaluator; see `evaluation_results`."""
    remaining: int
    """Answers without an evaluation."""
    recorded: dict[str, dict[str, Any]]
    """Id of a generation → its metrics."""
    facts: int
    """Different facts that the inference server reported."""
    searched: tuple[int, int]
    """Messages and rows that were searched for the planted text."""
    leaks: Sequence[str]
    """Topics and tables that have it."""


def read_findings(settings: Settings, client: Client, calls: Sequence[BotCall], planted: str) -> LlmFindings:
    """Read the findings from the demo's database and topics."""
    messages, in_topics = topics_with(settings, planted)
    searched, in_tables = tables_with(client, planted)
    return LlmFindings(
        calls,
        queries.prompt_costs(client, MODEL),
        queries.prompt_looks(client, MODEL, CANDIDATE),
        queries.guard_change(client),
        queries.text_drift(client, MODEL),
        queries.evaluation_results(client, MODEL),
        unevaluated(client),
        queries.generation_metrics(client, MODEL),
        queries.serving_fact_count(client, MODEL),
        (messages, searched),
        (*in_topics, *in_tables),
    )


def report_findings(report: DemoReport, findings: LlmFindings) -> None:
    """Print what was found."""
    report.signal("Prompts", "what a generation costs")
    names = ("prompt", "generations", "failed", "input tokens", "output tokens", "first token ms", "latency ms")
    report.table(names, [[str(value) for value in row] for row in findings.by_prompt])
    report.query(findings.by_prompt.sql)
    report.signal("Comparison", f"is {CANDIDATE} worse than {PRODUCTION}?")
    names = ("criterion", "difference", "low", "high", "margin", "generations", "outcome")
    report.table(names, [[str(value) for value in row] for row in findings.looks], numbers=range(1, 5))
    if findings.rollback is not None:
        at, before, after, reason = findings.rollback
        report.finding(f"{at}: the guard moved the label candidate from {before} to {after}", reason)
    report.query(findings.looks.sql)
    report.signal("Topics", "have the questions changed?")
    names = ("field", "window end", "PSI", "low", "high", "generations", "level")
    report.table(names, [[str(value) for value in row] for row in findings.topics], numbers=range(2, 6))
    report.query(findings.topics.sql)
    report.signal("Quality", "how many answers are faulty? A judge errs, too: labels of people say how often")
    columns = ("evaluator", "version", "evaluations", "no result", "flagged %")
    report.table(columns, [[str(value) for value in row] for row in findings.evaluations], numbers=range(2, 5))
    report.query(findings.evaluations.sql)


def expectations(findings: LlmFindings) -> list[DemoExpectation]:
    """Compare what was found with what the bot and the server measured."""
    calls, recorded = findings.calls, findings.recorded
    wrong = [
        call.id
        for call in calls
        if call.id not in recorded
        or recorded[call.id].get("input_tokens") != call.input_tokens
        or recorded[call.id].get("output_tokens") != call.output_tokens
        # The instrumentation leaves out a zero.
        or recorded[call.id].get("cached_input_tokens", 0) != call.cached_input_tokens
    ]
    late = [
        abs(recorded[call.id]["ttft_ms"] - call.first_token_ms)
        for call in calls
        if call.first_token_ms is not None and recorded.get(call.id, {}).get("ttft_ms") is not None
    ]
    near = sum(each <= FIRST_TOKEN_MS for each in late)
    prompts = [str(row[0]) for row in findings.by_prompt]
    last = [call.prompt for call in calls[-LAST_CALLS:]]
    levels = {str(row[0]): str(row[-1]) for row in findings.topics}
    return [
        DemoExpectation(
            "each call of the bot is one generation, with the tokens that the server counted",
            not wrong and len(recorded) == len(calls),
            f"{len(recorded)} generations, {len(calls)} calls, {len(wrong)} differ",
        ),
        DemoExpectation(
            f"{NEAR_SHARE:.0%} of first tokens are within {FIRST_TOKEN_MS:g} ms of the client's",
            bool(late) and near >= NEAR_SHARE * len(late),
            f"{near} of {len(late)}, at most {max(late, default=0.0):.1f} ms",
        ),
        DemoExpectation(
            "each generation has the cost of its tokens",
            bool(recorded) and all(_has_cost(metrics) for metrics in recorded.values()),
            f"{sum(metrics.get('cost_usd') or 0.0 for metrics in recorded.values()):.6f} US dollars",
        ),
        DemoExpectation(
            "the metrics of the inference server are stored beside the model",
            findings.facts >= LEAST_FACTS,
            f"{findings.facts} facts",
        ),
        DemoExpectation("generations name their prompt", prompts == [PRODUCTION, CANDIDATE], joined(prompts)),
        DemoExpectation(
            "the worse prompt was rolled back by the guard, and served nobody afterwards",
            findings.rollback is not None and findings.rollback[1:3] == ("2", "1") and {*last} == {PRODUCTION},
            "no rollback" if findings.rollback is None else " → ".join(findings.rollback[1:3]),
        ),
        DemoExpectation(
            "the change of topics is major, and the language did not change",
            levels.get("topic") == "major" and levels.get("language") not in ("minor", "major"),
            ", ".join(f"{field} {level}" for field, level in sorted(levels.items())),
        ),
        evaluation_expectation(findings.evaluations, findings.remaining),
        DemoExpectation(
            "a secret that customers wrote is in no message and in no row",
            not findings.leaks and min(findings.searched) > 0,
            f"{findings.searched[0]:,} messages and {findings.searched[1]:,} rows searched, in: "
            f"{joined(findings.leaks) or 'none'}",
        ),
    ]


def _has_cost(metrics: dict[str, Any]) -> bool:
    (price,) = PRICES
    expected = (metrics["input_tokens"] * price.input + metrics["output_tokens"] * price.output) / 1e6
    return math.isclose(metrics.get("cost_usd") or 0.0, expected, rel_tol=1e-9)
