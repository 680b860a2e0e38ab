"""The command line of `barograph evaluations`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from barograph_server.cli.options import ConfigOption, JsonOption
from barograph_server.sketches.judges.fault_rate import RATE_REASON_NAMES, FaultRate
from barograph_server.terminal import AlignedTable, Terminal, percentage, utc_minute
from barograph_server.warehouse.evaluation.evaluation_rates import EvaluationRates
from barograph_server.warehouse.evaluation.evaluator_trust import EvaluatorTrust


def rates_json(model: str, rates: EvaluationRates, trusts: Sequence[EvaluatorTrust]) -> dict[str, Any]:
    """Convert rates and AUROC for `Terminal.json`."""
    both = (("rate", rates.rate.rate), ("labels_only", rates.rate.gold_only))
    return {
        "model": model,
        "rates": [
            {
                **asdict(group),
                "judge_adds_nothing": bool(rates.rate.judge_adds_nothing[i]),
                **{name: _rate_json(rate, i) for name, rate in both},
            }
            for i, group in enumerate(rates.groups)
        ],
        "evaluators": [
            {
                "evaluator": each.evaluator,
                "evaluator_version": each.evaluator_version,
                "measured_by": each.measured_by,
                **asdict(each.trust),
                "trusted": not each.trust.reason,
            }
            for each in trusts
        ],
    }


def _rate_json(rate: FaultRate, i: int) -> dict[str, Any]:
    return {
        "value": float(rate.value[i]),
        "low": float(rate.low[i]),
        "high": float(rate.high[i]),
        "insufficient": RATE_REASON_NAMES[int(rate.reason[i])],
    }


def print_rates(
    terminal: Terminal,
    model: str,
    by: str,
    since: datetime,
    rates: EvaluationRates,
    trusts: Sequence[EvaluatorTrust],
) -> None:
    """Print a line for each evaluator, version and group, and then one for each evaluator and version."""
    terminal.line(f"{model}: answers that are faulty, since {utc_minute(since)} UTC", "bold")
    if not rates.groups:
        terminal.line("No evaluations yet. Does `barograph run evaluator` run, and is the text of answers published?")
        return
    numbers = ("evaluated", "no result", "flagged", "labels", "agree", "faulty")
    table = AlignedTable(
        *("evaluator", "version", by, "evaluated", "no result", "flagged", "labels", "agree", "faulty"),
        *("interval", "note"),
        numbers=numbers,
    )
    rate, gold = rates.rate.rate, rates.rate.gold_only
    for i, group in enumerate(rates.groups):
        table.row(
            group.evaluator,
            group.evaluator_version,
            group.name or "-",
            f"{group.judged:,}",
            f"{group.without_result:,}",
            percentage(group.flagged / group.judged) if group.judged else "-",
            f"{group.labels:,}",
            percentage(group.agreeing / group.labels, 0) if group.labels else "-",
            _share(rate.value[i]),
            _interval(rate, i),
            _note(rates, gold, i),
        )
    terminal.table(table)
    if trusts:
        _print_trust(terminal, trusts)


def _print_trust(terminal: Terminal, trusts: Sequence[EvaluatorTrust]) -> None:
    terminal.line()
    terminal.line("Evaluators against the labels of people", "bold")
    columns = ("evaluator", "version", "of", "faulty", "sound", "AUROC", "interval", "note")
    table = AlignedTable(*columns, numbers=("faulty", "sound", "AUROC"))
    for each in trusts:
        trust = each.trust
        is_known = trust.auroc == trust.auroc
        table.row(
            each.evaluator,
            each.evaluator_version,
            each.measured_by,
            f"{trust.faulty:,}",
            f"{trust.sound:,}",
            f"{trust.auroc:.3f}" if is_known else "-",
            f"{trust.low:.3f} to {trust.high:.3f}" if is_known else "-",
            f"not trusted: {trust.reason}" if trust.reason else "",
        )
    terminal.table(table)


def _share(value: float) -> str:
    return "-" if value != value else percentage(float(value))


def _interval(rate: FaultRate, i: int) -> str:
    if rate.value[i] != rate.value[i]:
        return "-"
    return f"{percentage(float(rate.low[i]))} to {percentage(float(rate.high[i]))}"


def _note(rates: EvaluationRates, gold: FaultRate, i: int) -> str:
    reason = RATE_REASON_NAMES[int(rates.rate.rate.reason[i])]
    notes = [f"insufficient: {reason}"] if reason else []
    if rates.groups[i].shares > 1:
        notes.append("chosen with different shares, and weighted by their inverses")
    if not reason and rates.rate.judge_adds_nothing[i]:
        notes.append(f"the evaluator adds nothing to the labels alone ({_interval(gold, i)})")
    return "; ".join(notes)


def evaluations_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The answering model.", show_default=False)],
    by: Annotated[
        Literal["prompt", "version", "arm", "day"],
        typer.Option(help="What divides answers into groups, besides the evaluator and its version."),
    ] = "prompt",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Start of the answers' event time: a time, or how long ago.")
    ] = "30d",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show how many answers are faulty, by checks and judges, corrected by the labels of people.

    A judge errs in a share of cases that only labels show. So each rate has two lines of evidence: what the evaluator
    says (`flagged`), and the rate with its 95 % interval, which weighs the evaluator's verdicts by how often people
    agree with them. Versions of an evaluator are never joined.

    A second table shows AUROC of each evaluator against the labels: an evaluator is `not trusted` until its 95 %
    interval is above 0.5.

    Examples:
        barograph evaluations support-bot
        barograph evaluations support-bot --by day --since 7d --json
    """
    from barograph_server.evaluation.rates import rates

    report = rates(model, by=by, since=since, settings=config)
    if as_json:
        Terminal().json(rates_json(model, report.rates, report.trusts))
    else:
        print_rates(Terminal(), model, by, report.since, report.rates, report.trusts)
