"""What the pipeline found about the support bot, compared with what the bot and its server measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cli.demo.expectation import DemoExpectation
from cli.demo.llm.bot_process import BotCall
from cli.demo.llm.training import MODEL, PRODUCTION
from cli.demo.query_result import DemoQuery, query_rows
from cli.demo.report import DemoReport, joined
from warehouse.client import Client

FIRST_TOKEN_MS = 10.0
"""Largest difference between the first token of a span and that of the client, in milliseconds."""


@dataclass(frozen=True, slots=True)
class LlmFindings:
    """The rows of the pipeline beside the calls of the bot."""

    calls: Sequence[BotCall]
    by_prompt: DemoQuery
    """Per prompt: its name, generations, failed ones, mean input and output tokens, median of the time to first token
    and of the latency in ms."""
    recorded: dict[str, dict[str, Any]]
    """Id of a generation → its metrics."""


def read_findings(client: Client, calls: Sequence[BotCall]) -> LlmFindings:
    """Read the findings from the demo's database."""
    by_prompt = query_rows(
        client,
        "SELECT context['prompt'] AS prompt, count() AS generations, countIf(error != '') AS failed,",
        "  round(avg(metrics['input_tokens']), 1) AS input_tokens,",
        "  round(avg(metrics['output_tokens']), 1) AS output_tokens,",
        "  round(quantile(0.5)(metrics['ttft_ms'])) AS ttft_ms, round(quantile(0.5)(latency_ms)) AS latency_ms",
        f"FROM all_predictions WHERE model = '{MODEL}' GROUP BY prompt ORDER BY prompt",
    )
    rows = client.rows("SELECT id, metrics FROM all_predictions WHERE model = {model:String}", {"model": MODEL})
    return LlmFindings(calls, by_prompt, {str(row[0]): dict(row[1]) for row in rows})


def rolled_back(client: Client) -> tuple[str, ...] | None:
    """Return the guard's change of the label: time, before, after, reason; None if there is none yet."""
    rows = client.rows(
        "SELECT toString(changed_at), before, after, reason FROM changes FINAL WHERE changed_by = 'guard' "
        "ORDER BY changed_at LIMIT 1"
    )
    return tuple(map(str, rows[0])) if rows else None


def report_findings(report: DemoReport, findings: LlmFindings) -> None:
    """Print what was found."""
    report.signal("Prompts", "what a generation costs")
    names = ("prompt", "generations", "failed", "input tokens", "output tokens", "first token ms", "latency ms")
    report.table(names, [[str(value) for value in row] for row in findings.by_prompt])
    report.query(findings.by_prompt.sql)


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
    return [
        DemoExpectation(
            "each call of the bot is one generation, with the tokens that the server counted",
            not wrong and len(recorded) == len(calls),
            f"{len(recorded)} generations, {len(calls)} calls, {len(wrong)} differ",
        ),
        DemoExpectation(
            f"99 % of first tokens are within {FIRST_TOKEN_MS:g} ms of the client's",
            bool(late) and near >= 0.99 * len(late),
            f"{near} of {len(late)}, at most {max(late, default=0.0):.1f} ms",
        ),
        DemoExpectation("generations name their prompt", PRODUCTION in prompts, joined(prompts)),
    ]
