"""The command line of `barograph status`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from barograph_server.cli.options import ConfigOption, FormatOption
from barograph_server.cli.simulate import incident_json, incident_table
from barograph_server.operations.status.read import FORGOTTEN_S, ModelStatus, OpenIncidents, PipelineStatus, is_never
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.terminal import (
    LEVEL_STYLES,
    AlignedTable,
    SafeText,
    Terminal,
    age,
    percentage,
    plural,
    utc_minute,
)
from barograph_server.warehouse.history.event_counts import ProblemRow
from barograph_server.warehouse.operations.status import DriftRow, LostRange, ProcessorRow, RateRow, is_silent
from barograph_server.warehouse.queries import PromotionRow

MAX_MAJOR = 20
"""Major verdicts that the table lists."""
MAX_PROBLEMS = 20
"""Kinds of problems that the table lists, the most frequent first."""
MAX_LOSSES = 10
"""Lost ranges that the table lists."""


def status_json(status: PipelineStatus, open_incidents: OpenIncidents) -> dict[str, Any]:
    """Make the values of the JSON output."""
    return {
        "incidents": [incident_json(incident) for incident in open_incidents.incidents],
        "incidents_problem": open_incidents.problem,
        "models": [dataclasses.asdict(model) for model in status.models],
        "processors": [
            {**dataclasses.asdict(processor), "silent": is_silent(processor)} for processor in status.processors
        ],
        "losses": [dataclasses.asdict(loss) for loss in status.losses],
        "problems": [dataclasses.asdict(problem) for problem in status.problems],
        "promotions": [dataclasses.asdict(promotion) for promotion in status.promotions],
    }


def print_status(terminal: Terminal, status: PipelineStatus, open_incidents: OpenIncidents) -> None:
    """Print open incidents, then the tables of models, processors and losses."""
    if open_incidents.problem:
        terminal.line(f"Open incidents are unknown: {open_incidents.problem}", "yellow")
        terminal.line()
    elif open_incidents.incidents:
        count = plural(len(open_incidents.incidents), "incident")
        terminal.line(f"{count} open, by the alert rules over the last 30 days:", "bold")
        terminal.table(incident_table(open_incidents.incidents))
        terminal.line()
    if status.models:
        terminal.table(_model_table(status.models))
        for line in (*_major_lines(status.models), *_reason_lines(status.models)):
            terminal.line(line)
    else:
        terminal.line("No contract is applied: write one with `barograph infer`, then run `barograph apply`.")
    for promotion in status.promotions:
        if promotion.override_reason:
            terminal.line(_override_text(promotion), "yellow")
    if status.problems:
        terminal.line()
        terminal.line("Events that are not counted or not measured:", "yellow")
        terminal.table(_problem_table(sorted(status.problems, key=lambda row: -row.n)[:MAX_PROBLEMS]))
        if len(status.problems) > MAX_PROBLEMS:
            terminal.line(f"{len(status.problems) - MAX_PROBLEMS} more: `barograph status --format json` lists all.")
    terminal.line()
    recent = [processor for processor in status.processors if processor.silent_s <= FORGOTTEN_S]
    if recent:
        terminal.table(_processor_table(recent))
    elif status.processors:
        terminal.line("No processor has reported for a day: start them with `barograph run` or `barograph dev`.")
    else:
        terminal.line(
            "No processor has reported yet: one that has just started reports within ten seconds. Otherwise start them "
            "with `barograph run` or `barograph dev`."
        )
    if status.losses:
        terminal.line()
        offsets = sum(loss.offsets for loss in status.losses)
        terminal.line(f"{plural(offsets, 'offset')} of the source topic lost. The latest ranges:", "red")
        terminal.table(_loss_table(status.losses[:MAX_LOSSES]))


def _override_text(promotion: PromotionRow) -> str:
    change = (
        f"version {promotion.serving} replaced version {promotion.replaced}"
        if promotion.serving != promotion.replaced
        else "promotion: required was removed"
    )
    return (
        f"{promotion.model}: {change} without evidence at {utc_minute(promotion.applied_at)} UTC, by "
        f"{promotion.override_by}: {promotion.override_reason}"
    )


def _model_table(models: Sequence[ModelStatus]) -> AlignedTable:
    numbers = ("complete", *LEVEL_NAMES)
    table = AlignedTable("model", "version", "last traffic", "sealed until", *numbers, numbers=numbers)
    for model in models:
        freshness = model.freshness
        last_traffic = sealed_until = "never"
        if freshness is not None and not is_never(freshness.last_traffic_at):
            last_traffic = f"{age(freshness.traffic_age_s)} ago"
        if freshness is not None and not is_never(freshness.sealed_until):
            sealed_until = utc_minute(freshness.sealed_until)
        complete = "" if model.completeness is None else percentage(model.completeness, 2)
        levels = (_level_count(level, model.levels[level]) for level in LEVEL_NAMES)
        table.row(model.model, model.version or "none yet", last_traffic, sealed_until, complete, *levels)
    return table


def _level_count(level: str, count: int) -> SafeText:
    return SafeText(str(count), style=LEVEL_STYLES[level] if count else "dim")


def _major_lines(models: Sequence[ModelStatus]) -> Iterator[SafeText]:
    rows = [row for model in models for row in model.major]
    for row in rows[:MAX_MAJOR]:
        yield SafeText(f"major  {row.model} {row.version}  {_verdict(row)}", style=LEVEL_STYLES["major"])
    if len(rows) > MAX_MAJOR:
        yield SafeText(f"{len(rows) - MAX_MAJOR} more: `barograph status --format json` lists all.")


def _reason_lines(models: Sequence[ModelStatus]) -> Iterator[SafeText]:
    for model in models:
        if model.reasons:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in model.reasons.items())
            yield SafeText(
                f"insufficient  {model.model} {model.version}  {reasons}", style=LEVEL_STYLES["insufficient"]
            )


def _verdict(row: DriftRow | RateRow) -> str:
    window = f"{row.window} to {utc_minute(row.window_end)}"
    if isinstance(row, DriftRow):
        psi = f"{row.field}, {window}: PSI {row.psi:.3f} [{row.psi_low:.3f}, {row.psi_high:.3f}]"
        return f"{psi}, most in {row.top_bin}" if row.top_bin else psi
    rates = f"{row.rate:.1%} instead of {row.baseline_rate:.1%}"
    return f"{row.field or 'predictions'} {row.kind}, {window}: {rates}"


def _problem_table(problems: Sequence[ProblemRow]) -> AlignedTable:
    table = AlignedTable("model", "problem", "events", "since", "last", numbers=("events",))
    for row in problems:
        table.row(row.model or "unknown", row.text, f"{row.n:,}", utc_minute(row.first_at), utc_minute(row.last_at))
    return table


def _processor_table(processors: Sequence[ProcessorRow]) -> AlignedTable:
    numbers = ("lag", "events/s", "events", "dead letters", "retries")
    table = AlignedTable("processor", "instance", *numbers, "last commit", "state", numbers=numbers)
    for row in processors:
        since_commit_s = (row.at - row.last_commit_at).total_seconds() + row.silent_s
        table.row(
            row.kind,
            row.instance,
            f"{row.lag:,}" if row.lag >= 0 else "unknown",
            f"{row.rate:,.0f}",
            f"{row.events:,}",
            f"{row.dead_letters:,}",
            f"{row.retries:,}",
            "never" if is_never(row.last_commit_at) else f"{age(since_commit_s)} ago",
            SafeText(f"silent for {age(row.silent_s)}", style="bold red")
            if is_silent(row)
            else SafeText("reporting", style="green"),
        )
    return table


def _loss_table(losses: Sequence[LostRange]) -> AlignedTable:
    table = AlignedTable("partition", "offsets", "event time", "reason", "recorded")
    for loss in losses:
        table.row(
            str(loss.source_partition),
            f"{loss.start_offset:,} to {loss.end_offset:,}",
            f"{utc_minute(loss.from_time)} to {utc_minute(loss.to_time)}",
            loss.reason,
            utc_minute(loss.recorded_at),
        )
    return table


def status_command(
    drills: Annotated[bool, typer.Option("--drills", help="Include the models of live drills.")] = False,
    form: FormatOption = "table",
    config: ConfigOption = None,
) -> None:
    """Show the state of models and processors, and open incidents.

    Incidents: what the alert rules fire now, one per model and cause. Models: last traffic, the time up to which
    verdicts are final, their completeness, and the number of latest verdicts per level on the slice `all`. Events
    that are not counted or not measured: dead letters, invalid values, unknown classes, and labels of the wrong type
    or without a prediction, each with its first and last time. Processors: lag, rate, last commit, and whether they
    still report. Losses: ranges of events that no verdict includes. Reads ClickHouse only.

    Examples:
        barograph status
        barograph status --format json | jq '.models[].levels'
    """
    from barograph_server.operations.status.read import read_open_incidents, read_status
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        status = read_status(client, drills=drills)
        incidents = read_open_incidents(client, settings.alerts)
    if form == "json":
        Terminal().json(status_json(status, incidents))
    else:
        print_status(Terminal(), status, incidents)
