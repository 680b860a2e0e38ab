"""The command line of `barograph status`."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

from barograph_server.cli.options import Connection, Opt, Output
from barograph_server.cli.simulate import INCIDENTS, incident_values
from barograph_server.operations.status.read import (
    FORGOTTEN_S,
    ModelStatus,
    OpenIncidents,
    PipelineStatus,
    is_never,
    read_open_incidents,
    read_status,
)
from barograph_server.plain_values import plain
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.terminal import (
    LEVEL_STYLES,
    SafeText,
    TableColumn,
    Terminal,
    age,
    percentage,
    picked,
    plural,
    utc_minute,
)
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.operations.status import DriftRow, ProcessorRow, RateRow, is_silent
from barograph_server.warehouse.queries import PromotionRow
from barograph_server.warehouse.signals.verdicts import UNLIKE

MAX_MAJOR = 20
"""Major verdicts that the table lists."""
MAX_PROBLEMS = 20
"""Kinds of problems that the table lists, the most frequent first."""
MAX_LOSSES = 10
"""Lost ranges that the table lists."""


def status_values(status: PipelineStatus, open_incidents: OpenIncidents) -> dict[str, Any]:
    """Return what programs read of the state."""
    return {
        "incidents": [incident_values(incident) for incident in open_incidents.incidents],
        "incidents_problem": open_incidents.problem,
        **picked(status, "models", "losses", "problems", "promotions"),
        "processors": [{**plain(each), "silent": is_silent(each)} for each in status.processors],
    }


def print_status(terminal: Terminal, status: PipelineStatus, open_incidents: OpenIncidents) -> None:
    """Print open incidents, then the tables of models, processors and losses."""
    if open_incidents.problem:
        terminal.line(f"Open incidents are unknown: {open_incidents.problem}", "yellow")
        terminal.line()
    elif open_incidents.incidents:
        count = plural(len(open_incidents.incidents), "incident")
        terminal.line(f"{count} open, by the alert rules over the last 30 days:", "bold")
        terminal.rows(open_incidents.incidents, INCIDENTS)
        terminal.line()
    if status.models:
        terminal.rows(status.models, _MODELS)
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
        terminal.rows(sorted(status.problems, key=lambda row: -row.n)[:MAX_PROBLEMS], _PROBLEMS)
        if len(status.problems) > MAX_PROBLEMS:
            terminal.line(f"{len(status.problems) - MAX_PROBLEMS} more: `barograph status --format json` lists all.")
    terminal.line()
    recent = [processor for processor in status.processors if processor.silent_s <= FORGOTTEN_S]
    if recent:
        terminal.rows(recent, _PROCESSORS)
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
        terminal.rows(status.losses[:MAX_LOSSES], _LOSSES)


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


def _level_count(model: ModelStatus, level: str) -> SafeText:
    count = model.levels[level]
    return SafeText(str(count), style=LEVEL_STYLES[level] if count else "dim")


def _last_traffic(model: ModelStatus) -> str:
    known = model.freshness if model.freshness and not is_never(model.freshness.last_traffic_at) else None
    return f"< {age(known.traffic_within_s, rounds_up=True)} ago" if known else "never"


def _sealed_until(model: ModelStatus) -> str:
    freshness = model.freshness
    return "never" if freshness is None or is_never(freshness.sealed_until) else utc_minute(freshness.sealed_until)


def _last_commit(row: ProcessorRow) -> str:
    since_commit_s = (row.at - row.last_commit_at).total_seconds() + row.silent_s
    return "never" if is_never(row.last_commit_at) else f"{age(since_commit_s)} ago"


def _state(row: ProcessorRow) -> SafeText:
    if is_silent(row):
        return SafeText(f"silent for {age(row.silent_s)}", style="bold red")
    return SafeText("reporting", style="green")


_MODELS = (
    TableColumn("model"),
    TableColumn("version", format=lambda version: version or "none yet"),
    TableColumn(_last_traffic, "last traffic"),
    TableColumn(_sealed_until, "sealed until"),
    TableColumn("completeness", "complete", lambda share: percentage(share, 2), is_number=True),
    *(TableColumn(partial(_level_count, level=level), level, is_number=True) for level in LEVEL_NAMES),
)
_PROBLEMS = (
    TableColumn("model", format=lambda model: model or "unknown"),
    TableColumn("text", "problem"),
    TableColumn("n", "events", ","),
    TableColumn("first_at", "since", utc_minute),
    TableColumn("last_at", "last", utc_minute),
)
_PROCESSORS = (
    TableColumn("kind", "processor"),
    TableColumn("instance"),
    TableColumn("lag", format=lambda lag: f"{lag:,}" if lag >= 0 else "unknown", is_number=True),
    TableColumn("rate", "events/s", ",.0f"),
    TableColumn("events", format=","),
    TableColumn("dead_letters", format=","),
    TableColumn("retries", format=","),
    TableColumn(_last_commit, "last commit"),
    TableColumn(_state, "state"),
)
_LOSSES = (
    TableColumn("source_partition", "partition"),
    TableColumn(lambda loss: f"{loss.start_offset:,} to {loss.end_offset:,}", "offsets"),
    TableColumn(lambda loss: f"{utc_minute(loss.from_time)} to {utc_minute(loss.to_time)}", "event time"),
    TableColumn("reason"),
    TableColumn("recorded_at", "recorded", utc_minute),
)


def _major_lines(models: Sequence[ModelStatus]) -> Iterator[SafeText]:
    rows = [row for model in models for row in model.major]
    for row in rows[:MAX_MAJOR]:
        yield SafeText(f"major  {row.model} {row.version}  {_verdict(row)}", style=LEVEL_STYLES["major"])
    if len(rows) > MAX_MAJOR:
        yield SafeText(f"{len(rows) - MAX_MAJOR} more: `barograph status --format json` lists all.")


def _reason_lines(models: Sequence[ModelStatus]) -> Iterator[SafeText]:
    for model in models:
        for row in model.undecided[:MAX_MAJOR]:
            verdict = f"{row.field}, {row.window} to {utc_minute(row.window_end)}: {row.shown_reason}"
            style = LEVEL_STYLES["minor" if row.shown_level == UNLIKE else "insufficient"]
            yield SafeText(f"{row.shown_level}  {row.model} {row.version}  {verdict}", style=style)
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


def status_command(
    output: Output, connection: Connection, drills: Annotated[bool, Opt("Include the models of live drills.")] = False
) -> None:
    """Show the state of models and processors, and open incidents.

    Incidents are what the alert rules fire now, models their latest verdicts on the slice `all`; losses are ranges of
    events that no verdict includes. Reads ClickHouse only.

    Examples:
        barograph status
        barograph status --format json | jq '.models[].levels'
    """
    settings = connection.settings("clickhouse")
    with connect(settings.warehouse) as client:
        status = read_status(client, drills=drills)
        incidents = read_open_incidents(client, settings.alerts)
    output.show(status, print_status, incidents, values=status_values)
