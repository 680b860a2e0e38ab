"""The command line of `barograph loops`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated

import typer
from barograph.contract import parse_duration

from barograph_server.cli.options import Connection, Model, Opt, Output
from barograph_server.contracts import read_contract
from barograph_server.errors import EXIT_HOLD, EXIT_INSUFFICIENT, EXIT_OK, CommandError
from barograph_server.terminal import AlignedTable, TableColumn, Terminal, percentage, utc_minute
from barograph_server.times import parse_since
from barograph_server.warehouse.governance.explored_predictions import MAX_EXPOSURES

if TYPE_CHECKING:
    from barograph_server.governance.loops import Exposures, LoopReport
    from barograph_server.sketches.loops.diversity import WeeklyTrend
    from barograph_server.sketches.loops.effect import LoopEffect


def _effect(effect: LoopEffect) -> str:
    return f"{effect.value:+.2f} [{effect.low:.2f}, {effect.high:.2f}]"


_EFFECTS = (
    TableColumn(itemgetter(0), "input"),
    TableColumn(lambda row: "-" if row[1].reason else _effect(row[1]), "effect"),
    TableColumn(lambda row: "-" if row[1].reason else f"{row[1].p_value:.2g}", "p", is_number=True),
    TableColumn(lambda row: row[1].pairs, "pairs", ","),
    TableColumn(lambda row: row[1].entities, "entities", ","),
    TableColumn(lambda row: row[1].reason, "note"),
)


def print_loops(terminal: Terminal, report: LoopReport) -> None:
    """Print the verdict, what was read, the effect on each input, and the diversity of each week."""
    measurement, options = report.measurement, report.options
    verdict, effects = measurement.verdict, measurement.effects
    basis = verdict.reason or ", ".join(f"{name}: {_effect(effects[name])}" for name in verdict.fields)
    terminal.line(f"loop: {verdict.name}{f' ({basis})' if basis else ''}", "bold")
    unit = "standard deviation of the output" if report.output == "score" else "change of the output"
    terminal.line(
        f"{report.model}: effect of {report.output} on later inputs of the same {options.entity}, in standard "
        f"deviations per {unit}, since {utc_minute(options.start)} UTC"
    )
    counts = {name: value for name, value in asdict(report.population).items() if name not in _NO_COUNTS}
    counts |= {"read": report.rows_read, "explored, read": measurement.explored}
    counts |= {"explored, without later period": measurement.recent}
    counts |= {"explored, without output": measurement.without_output}
    terminal.pairs({name.replace("_", " "): f"{count:,}" for name, count in counts.items()})
    if report.share_read < 1.0:
        terminal.line(f"Sampled: {percentage(report.share_read)} of the entities with explored predictions were read.")
    if measurement.explored:
        terminal.line()
        terminal.rows(effects.items(), _EFFECTS)
    terminal.line()
    items = options.items or "class"
    if report.exposures is None:
        terminal.line(f"No diversity: {items} has no values, or more than {MAX_EXPOSURES:,} in all weeks together.")
    else:
        _print_exposures(terminal, items, report.exposures)


_NO_COUNTS = ("last_at_ms", "frequent_class")


def _print_exposures(terminal: Terminal, items: str, exposures: Exposures) -> None:
    columns = ("exposures", "entropy", "Gini")
    table = AlignedTable(f"week of {items}", *columns, numbers=columns)
    values = exposures.diversity
    for week, *row in zip(exposures.weeks, exposures.exposures, values.entropy, values.gini, strict=True):
        numbers = (f"{row[0]:,}", *(f"{value:.3f}" if value == value else "-" for value in row[1:]))
        table.row(f"{week:%Y-%m-%d}", *numbers)
    terminal.table(table)
    for name, trend in (("entropy", values.entropy_trend), ("Gini", values.gini_trend)):
        terminal.line(f"Trend of {name} per week, without the first and last: {_trend(trend)}")


def _trend(trend: WeeklyTrend) -> str:
    return "too few weeks" if trend.slope != trend.slope else f"{trend.slope:+.4f} [{trend.low:.4f}, {trend.high:.4f}]"


def loops_command(
    shown: Output,
    connection: Connection,
    model: Model,
    entity: Annotated[str, Opt("What returns: context.NAME, or a feature.", "SOURCE")],
    lag: Annotated[str, Opt("Shortest time until the later prediction.", "DURATION")] = "1d",
    since: Annotated[str, Opt("Start of the event time: a time, or how long ago.", "TIME")] = "90d",
    fields: Annotated[tuple[str, ...], Opt("Measure only this input; repeatable.", "NAME", name="--field")] = (),
    output: Annotated[
        str | None, Opt("class=NAME, score>=NUMBER or score; by default the most frequent explored class.", "OUTPUT")
    ] = None,
    items: Annotated[str | None, Opt("Text feature whose diversity is shown; by default the class.", "FIELD")] = None,
) -> None:
    """Show whether a model's outputs change its later inputs, from predictions with randomised outputs.

    Needs predictions with `exploration` and `propensity` in their context. Without them the verdict is `cannot tell`.
    Also shows the diversity of outputs by week, which does not change the verdict.

    Exits with 0 if no loop is seen, 1 if a loop is likely, 2 if the data cannot tell, 3 if the command fails.

    Examples:
        barograph loops --model flight-delay --entity tailnum --lag 12h
        barograph loops --model feed-ranker --entity context.user_id --output score --since 30d --format json
    """
    from barograph_server.governance.loops import LoopOptions, read_report

    now = datetime.now(UTC)
    try:
        lag_s = parse_duration(lag)
    except ValueError:
        lag_s = 0
    if lag_s <= 0:
        raise CommandError(f"--lag {lag} is not a duration above 0; write one such as 12h or 1d.")
    options = LoopOptions(
        entity, lag_s, parse_since("--since", since, now), now, tuple(fields or ()), output, items or ""
    )
    with connection.warehouse() as client:
        report = read_report(client, read_contract(client, model), options)
    shown.show(report, print_loops)
    codes = {"not seen": EXIT_OK, "likely": EXIT_HOLD, "cannot tell": EXIT_INSUFFICIENT}
    raise typer.Exit(codes[report.measurement.verdict.name])
