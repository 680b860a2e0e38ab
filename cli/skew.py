"""The command line of `barograph skew`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from barograph_server.batch.skew.compare import FieldSkew, SkewReport
from barograph_server.cli.options import Connection, Opt, Options, Output
from barograph_server.errors import EXIT_VIOLATIONS, CommandError
from barograph_server.sketches.skew.field import Explanation, Skew
from barograph_server.terminal import AlignedTable, TableColumn, Terminal, picked, plural, ratio

_MAX_CHARS = 40
"""Characters shown of a sample's value."""
_MIN_SHARE = 0.1
"""Smallest share of mismatches that an unconfirmed explanation must cover to be shown."""


def report_values(report: SkewReport) -> dict[str, Any]:
    """Return what programs read of a comparison."""
    explained = ("kind", "detail", "is_named", "explained", "judged", "of", "share", "low")
    return {
        **picked(report.joined, "served_rows", "recomputed_rows", "only_served", "only_recomputed", "repeated"),
        "compared_rows": len(report.joined),
        "fields": [
            {
                "field": each.field.name,
                **picked(each.skew, "compared", "mismatched", "rate", "low", "high", "kinds", "precision"),
                "explanations": [picked(explanation, *explained) for explanation in each.skew.explanations],
                "samples": each.samples,
            }
            for each in report.fields
        ],
        "skipped": report.skipped,
    }


def print_report(terminal: Terminal, report: SkewReport) -> None:
    """Print the skewed fields with explanations and sample rows, then skipped fields and a summary."""
    skewed = report.skewed
    if skewed:
        terminal.rows(skewed, _SKEWED)
        for field in skewed:
            terminal.line()
            terminal.table(_sample_table(field))
        terminal.line()
    for field in report.fields:
        if field.skew.precision:
            terminal.line(f"{field.field.name}: no mismatch, but {field.skew.precision}.")
    terminal.lines(f"{field.name} is not compared: {field.reason}." for field in report.skipped)
    terminal.line(_summary(report))


def _explanations(field: FieldSkew) -> str:
    explanations = (_explanation(explanation, field.skew) for explanation in field.skew.explanations)
    return "; ".join(filter(None, explanations)) or "no known rule matches"


_SKEWED = (
    TableColumn("field.name", "field"),
    TableColumn("skew.compared", format=","),
    TableColumn("skew.mismatched", format=","),
    TableColumn(lambda field: ratio(field.skew.mismatched, field.skew.compared), "rate", is_number=True),
    TableColumn(
        lambda field: f"{100 * field.skew.low:.3g}–{100 * field.skew.high:.3g}%", "95% interval", is_number=True
    ),
    TableColumn("skew.kinds", "kind", ", ".join),
    TableColumn(_explanations, "explanation"),
)


def _explanation(explanation: Explanation, skew: Skew) -> str:
    """Describe a confirmed rule, or a candidate that covers at least `_MIN_SHARE`, with its share if below 100%."""
    part = f"{ratio(explanation.of, skew.mismatched)}: " if explanation.of < skew.mismatched else ""
    covered = ratio(explanation.explained, explanation.judged)
    if explanation.is_named:
        kind = f"{explanation.kind}, " if "unexplained" in skew.kinds else ""
        rest = f" ({covered} of them)" if explanation.explained < explanation.judged else ""
        return f"{part}{kind}{explanation.detail}{rest}"
    if explanation.share < _MIN_SHARE:
        return ""
    of = f" of {explanation.judged:,}" if explanation.judged < 100 else ""
    shares = f"{covered}{of}, at least {100 * explanation.low:.0f}%"
    return f"{part}best candidate: {explanation.kind}, {explanation.detail} ({shares})"


def _sample_table(field: FieldSkew) -> AlignedTable:
    table = AlignedTable(field.field.name, "served", "recomputed", header_style="dim")
    for sample in field.samples:
        values = (sample.id, sample.served, sample.recomputed)
        table.row(*("null" if value is None else value[:_MAX_CHARS] for value in values))
    return table


def _summary(report: SkewReport) -> str:
    joined = report.joined
    n_skewed = len(report.skewed)
    skewed = f"{n_skewed} with skew" if n_skewed else "no skew"
    text = f"Compared {plural(len(joined), 'prediction')}, {plural(len(report.fields), 'field')}: {skewed}."
    if joined.only_served:
        text += f" {joined.only_served:,} served but not recomputed."
    if joined.only_recomputed:
        text += f" {joined.only_recomputed:,} recomputed but not served."
    if joined.repeated:
        rows = plural(joined.repeated, "recomputed row")
        text += f" {rows} with a repeated id; only the first row of an id is used."
    return text


class SkewSettings(Options, frozen=True):
    contract: Annotated[Path | None, Opt("The model's contract: types and personal data.", "FILE")] = None
    on: Annotated[
        str | None, Opt("Column of prediction ids; by default that of the contract's `columns`, or `id`.", "COLUMN")
    ] = None
    fields: Annotated[tuple[str, ...], Opt("Compare only this field; repeatable.", "NAME", name="--field")] = ()
    by: Annotated[tuple[str, ...], Opt("Column of the entity, to detect lags and windows; repeatable.", "ENTITY")] = ()
    time: Annotated[
        str | None, Opt("Column of the time, to detect lags; with --by that of the contract's `columns`.", "COLUMN")
    ] = None
    begin: Annotated[str | None, Opt("Start of the event times, for clickhouse:.", "TIME", name="--from")] = None
    end: Annotated[str | None, Opt("End of the event times, exclusive.", "TIME", name="--to")] = None
    tolerance: Annotated[float, Opt("Largest relative difference of equal numbers.")] = 1e-6


def skew_command(
    comparing: SkewSettings,
    output: Output,
    connection: Connection,
    served: Annotated[str, Opt("Served features: a file, or clickhouse:MODEL\\[@VERSION].", "FILE")],
    recomputed: Annotated[Path, Opt("Features that training computes for the same ids.", "FILE")],
    underlying: Annotated[tuple[str, ...], Opt("Column that a field aggregates; repeatable.", "FIELD=COLUMN")] = (),
) -> None:
    """Compare served features with those that training computes, and explain differences.

    Searches for the cause of differences: null handling, units, rounding, other spelling or codes, and with --by and
    --time a lag or another window. Names a cause only if it explains nearly all differences.

    Exits with 0 if nothing differs, 1 if a field differs, 2 if the sides cannot be compared.

    Examples:
        barograph skew --served served.parquet --recomputed train.parquet --contract flight-delay.yaml
        barograph skew --served clickhouse:flight-delay@3 --from 2026-03-01 --to 2026-03-02 --recomputed train.parquet
    """
    from barograph_server.batch.skew.skew import skew

    with Terminal(stderr=True).steps() as on_step:
        report = skew(
            served,
            recomputed,
            **comparing.values(),
            underlying=_parse_underlying(underlying),
            settings=connection.config,
            on_field=lambda name: on_step(f"comparing {name}"),
        )
    output.show(report, print_report, values=report_values)
    if report.skewed:
        raise typer.Exit(EXIT_VIOLATIONS)


def _parse_underlying(texts: Sequence[str]) -> dict[str, str]:
    columns = {}
    for text in texts:
        field, equals, column = text.partition("=")
        if not (field and equals and column):
            raise CommandError(f"--underlying {text}: write FIELD=COLUMN.")
        columns[field] = column
    return columns
