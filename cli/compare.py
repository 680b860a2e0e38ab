"""The command line of `barograph compare`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from barograph_server.batch.compare.performance import PeriodMetric
from barograph_server.batch.compare.report import ATTENTION, Comparison
from barograph_server.batch.compare.wording import (
    MAX_RATES,
    MAX_SLICES,
    changed_rates,
    changed_slices,
    conclusion,
    headline,
    headline_metrics,
    interval,
    moved_bin,
    multivariate_line,
    number,
    psi_notes,
    rate_numbers,
)
from barograph_server.cli.options import Arg, Opt, Options, TrainingColumns, example_of
from barograph_server.errors import EXIT_UNJUDGED, EXIT_VIOLATIONS, CommandError
from barograph_server.sample_tables import PRODUCTION, TRAIN
from barograph_server.terminal import LEVEL_STYLES, AlignedTable, SafeText, Terminal, plural, shorten_name


def show_report(terminal: Terminal, report: Comparison) -> None:
    """Print verdicts, rates, performance, hints and notes."""
    terminal.line(headline(report))
    terminal.table(_drift_table(report))
    rates = changed_rates(report)
    if rates:
        terminal.line()
        terminal.table(_rates_table(rates[:MAX_RATES]))
        if len(rates) > MAX_RATES:
            terminal.line(f"… and {plural(len(rates) - MAX_RATES, 'rate')} more.")
    slices = changed_slices(report)
    if slices:
        terminal.line()
        terminal.table(_slices_table(slices[:MAX_SLICES]))
        if len(slices) > MAX_SLICES:
            terminal.line(f"… and {plural(len(slices) - MAX_SLICES, 'verdict')} on slices more.")
    if notes := psi_notes(report):
        terminal.lines(("", *notes))
    metrics = headline_metrics(report)
    if metrics:
        terminal.line()
        terminal.table(_performance_table(metrics))
    if report.multivariate is not None:
        terminal.line()
        terminal.line(multivariate_line(report))
    if report.hints:
        terminal.line()
        table = AlignedTable("field", "hint", "likely cause")
        for hint in report.hints:
            table.row(shorten_name(hint.field), hint.kind, hint.text)
        terminal.table(table)
    if report.notes:
        terminal.line()
    for note in report.notes:
        terminal.line(SafeText("! ", style="bold yellow").append(note, "none"))
    terminal.line()
    terminal.line(conclusion(report), LEVEL_STYLES[report.level])


def _level(level: str) -> SafeText:
    return SafeText(level, style=LEVEL_STYLES[level])


def _drift_table(report: Comparison) -> AlignedTable:
    several = len(report.periods) > 1
    numbers = ("PSI", "95% interval", "φ", *(("major", "minor") if several else ()))
    columns = ("field", "level", *(("worst period",) if several else ()), *numbers, "largest change")
    table = AlignedTable(*columns, numbers=numbers)
    for line in sorted(
        report.fields, key=lambda line: ATTENTION.index(line.worst["level"] if line.worst else "insufficient")
    ):
        row = line.worst
        name = shorten_name(line.name) + (" (critical)" if line.critical else "")
        if row is None:
            table.row(name, _level("insufficient"), *("" for _ in columns[2:]))
            continue
        levels = [each["level"] for each in line.drift]
        table.row(
            name,
            _level(row["level"]),
            *((row["period"],) if several else ()),
            number(row["psi"]),
            interval(row["psi_low"], row["psi_high"]),
            f"{row['phi']:.3g}",
            *((f"{levels.count('major')} of {len(levels)}", f"{levels.count('minor')}") if several else ()),
            moved_bin(line),
        )
    return table


def _rates_table(rows: Sequence[dict[str, Any]]) -> AlignedTable:
    numbers = ("training", "production", "change", "95% interval", "periods")
    table = AlignedTable("field", "rate", "level", "worst period", *numbers, numbers=numbers)
    for row in rows:
        table.row(shorten_name(row["field"]), row["kind"], _level(row["level"]), row["period"], *rate_numbers(row))
    return table


def _slices_table(rows: Sequence[dict[str, Any]]) -> AlignedTable:
    numbers = ("PSI", "95% interval", "n", "periods")
    table = AlignedTable("slice", "field", "level", "worst period", *numbers, numbers=numbers)
    for row in rows:
        table.row(
            shorten_name(row["slice"]),
            shorten_name(row["field"]),
            _level(row["level"]),
            row["period"],
            number(row["psi"]),
            interval(row["psi_low"], row["psi_high"]),
            f"{row['n']:,}",
            str(row["periods"]),
        )
    return table


def _performance_table(metrics: Sequence[PeriodMetric]) -> AlignedTable:
    numbers = ("labels", "value", "95% interval", "training", "change", "estimate without labels")
    table = AlignedTable("metric", "period", "level", *numbers, numbers=numbers)
    for metric in metrics:
        estimate = metric.estimate_reason or number(metric.estimate)
        if math.isfinite(metric.estimate_low):
            estimate += f" [{interval(metric.estimate_low, metric.estimate_high)}]"
        table.row(
            metric.metric,
            metric.period,
            _level(metric.level),
            f"{metric.n:,}",
            number(metric.value),
            interval(metric.low, metric.high),
            number(metric.training),
            f"{metric.change:+.3f}" if math.isfinite(metric.change) else "",
            estimate,
        )
    return table


class CompareSettings(Options, frozen=True):
    by: Annotated[
        Literal["month", "week", "day", "hour", "all"] | None,
        Opt("Calendar periods of PROD, in UTC, or all rows together. By default chosen by their span."),
    ] = None
    contract: Annotated[Path | None, Opt("The model's contract; by default inferred from TRAIN.", "FILE")] = None
    version: Annotated[str, Opt("Version of the model in the baseline.")] = "1"
    multivariate: Annotated[
        bool,
        Opt(
            "Train a classifier that tells PROD from TRAIN (with scikit-learn).",
            name="--multivariate/--no-multivariate",
        ),
    ] = True


def compare_command(
    comparing: CompareSettings,
    columns: TrainingColumns,
    train: Annotated[Path, Arg("Training data: Parquet, CSV or Arrow.", "TRAIN")],
    prod: Annotated[Path, Arg("Production data: Parquet, CSV or Arrow.", "PROD")],
    model: Annotated[str | None, Opt("Name of the model in the inferred contract.", "NAME")] = None,
    html: Annotated[Path | None, Opt("Write the report as one HTML page.", "FILE")] = None,
    json: Annotated[Path | None, Opt("Write all verdicts as JSON.", "FILE")] = None,
    write_contract: Annotated[Path | None, Opt("Write the inferred contract and baseline, for `apply`.", "DIR")] = None,
    force: Annotated[bool, Opt("Let --write-contract overwrite other files.")] = False,
    fail_at: Annotated[
        Literal["minor", "major"] | None, Opt("Exit with 1 if the worst level is this or worse, with 3 if none.")
    ] = None,
    example: Annotated[bool, example_of("compare", (TRAIN, PRODUCTION), "TRAIN PROD", "--html report.html")] = False,
) -> None:
    """Compare production data with training data on this machine, without Kafka and ClickHouse.

    Contract, baseline and verdicts are those of the pipeline. With --contract, columns are by default those of its
    `columns`.

    Exits with 0; with 1 if the level of --fail-at is reached; with 2 if the data or an option is invalid; with 3 if
    --fail-at is set and the data is too little for a verdict.

    Examples:
        barograph compare train.parquet march.parquet --time at --score p --label churned --html report.html
        barograph compare train.csv week.csv --contract contracts/churn.yaml --fail-at major --json verdicts.json
        barograph compare train.parquet prod.parquet --model churn --write-contract contracts
    """
    from barograph_server.batch.compare.compare import compare

    terminal = Terminal()
    if comparing.contract is not None and (write_contract is not None or model is not None):
        option = "--model" if write_contract is None else "--write-contract"
        raise CommandError(f"{option} is about an inferred contract: leave out it or --contract.")
    with Terminal(stderr=True).steps() as on_step:
        report = compare(train, prod, **comparing.values(), **columns.values(), model=model or "model", on_step=on_step)
    written = None if write_contract is None else report.write_contract(write_contract, force=force)
    for path, text in ((html, report.to_html), (json, report.to_json)):
        if path is not None:
            path.write_text(text(), encoding="utf-8")
    show_report(terminal, report)
    if written is not None and report.inferred is not None:
        for remark in filter(None, (report.inferred.windows_reason, report.inferred.windows_warning)):
            terminal.line(remark)
        for path in (written.contract, written.baseline):
            terminal.line(f"{path} ({'unchanged' if path in written.unchanged else 'written'})")
    for path in (html, json):
        if path is not None:
            terminal.line(f"{path} (written)")
    if fail_at is not None and report.fails_at(fail_at):
        raise typer.Exit(EXIT_VIOLATIONS)
    if fail_at is not None and report.level == "insufficient":
        raise typer.Exit(EXIT_UNJUDGED)
