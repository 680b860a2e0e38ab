"""The command line of `barograph skew`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from barograph_server.batch.skew.compare import FieldSkew, SkewReport
from barograph_server.cli.options import ConfigOption, JsonOption
from barograph_server.errors import EXIT_VIOLATIONS, CommandError
from barograph_server.sketches.skew.field import Explanation, Skew
from barograph_server.terminal import AlignedTable, SafeText, Terminal, plural, ratio

_MAX_CHARS = 40
"""Characters shown of a sample's value."""
_MIN_SHARE = 0.1
"""Smallest share of mismatches that an unconfirmed explanation must cover to be shown."""


def report_json(report: SkewReport) -> dict[str, Any]:
    """Make the values of the JSON output."""
    joined = report.joined
    return {
        "served_rows": joined.served_rows,
        "recomputed_rows": joined.recomputed_rows,
        "compared_rows": len(joined),
        "only_served": joined.only_served,
        "only_recomputed": joined.only_recomputed,
        "repeated_recomputed": joined.repeated,
        "fields": [_field_json(field) for field in report.fields],
        "not_compared": {field.name: field.reason for field in report.skipped},
    }


def _field_json(field: FieldSkew) -> dict[str, Any]:
    skew = field.skew
    return {
        "field": field.field.name,
        "compared": skew.compared,
        "mismatched": skew.mismatched,
        "rate": skew.rate,
        "rate_low": skew.low,
        "rate_high": skew.high,
        "kinds": list(skew.kinds),
        "explanations": [
            {
                "kind": explanation.kind,
                "detail": explanation.detail,
                "named": explanation.is_named,
                "explained": explanation.explained,
                "judged": explanation.judged,
                "of": explanation.of,
                "share": explanation.share,
                "share_low": explanation.low,
            }
            for explanation in skew.explanations
        ],
        "precision": skew.precision,
        "samples": [
            {"id": sample.id, "served": sample.served, "recomputed": sample.recomputed} for sample in field.samples
        ],
    }


def print_report(terminal: Terminal, report: SkewReport) -> None:
    """Print the skewed fields with explanations and sample rows, then skipped fields and a summary."""
    skewed = report.skewed
    if skewed:
        terminal.table(_skew_table(skewed))
        for field in skewed:
            terminal.line()
            terminal.table(_sample_table(field))
        terminal.line()
    for field in report.fields:
        if field.skew.precision:
            terminal.line(f"{field.field.name}: no mismatch, but {field.skew.precision}.")
    terminal.lines(f"{field.name} is not compared: {field.reason}." for field in report.skipped)
    terminal.line(_summary(report))


def _skew_table(skewed: list[FieldSkew]) -> AlignedTable:
    numbers = ("compared", "mismatched", "rate", "95% interval")
    table = AlignedTable("field", *numbers, "kind", "explanation", numbers=numbers)
    for field in skewed:
        skew = field.skew
        explanations = filter(None, (_explanation(explanation, skew) for explanation in skew.explanations))
        table.row(
            field.field.name,
            f"{skew.compared:,}",
            f"{skew.mismatched:,}",
            ratio(skew.mismatched, skew.compared),
            f"{100 * skew.low:.3g}–{100 * skew.high:.3g}%",
            ", ".join(skew.kinds),
            "; ".join(explanations) or "no known rule matches",
        )
    return table


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


def skew_command(
    served: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="Served features: a file, or clickhouse:MODEL\\[@VERSION].", show_default=False
        ),
    ],
    recomputed: Annotated[
        Path, typer.Option(metavar="FILE", help="Features that training computes for the same ids.", show_default=False)
    ],
    contract: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The model's contract: types and personal data.", show_default=False),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of prediction ids; by default that of the contract's `columns`, or `id`.",
            show_default=False,
        ),
    ] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--field", metavar="NAME", help="Compare only this field; repeatable.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENTITY", help="Column of the entity, to detect lags and windows; repeatable.", show_default=False
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of the time, to detect lags and windows; with --by that of the contract's `columns`.",
            show_default=False,
        ),
    ] = None,
    underlying: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="Column that a field aggregates; repeatable.", show_default=False),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Start of the event times, for clickhouse:.", show_default=False),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="End of the event times, exclusive.", show_default=False)
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Largest relative difference of equal numbers.")] = 1e-6,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Compare served features with those that training computes, and explain differences.

    Joins both sides by the prediction's id and compares them field by field. Searches for the cause of differences:
    null handling, a constant offset or factor (units), rounding, other spelling or codes, and with --by and --time a
    lag or another window. Names a cause only if it explains nearly all differences.

    Exits with 0 if nothing differs, 1 if a field differs, 2 if the sides cannot be compared.

    Examples:
        barograph skew --served served.parquet --recomputed train.parquet --contract flight-delay.yaml
        barograph skew --served clickhouse:flight-delay@3 --from 2026-03-01 --to 2026-03-02 --recomputed train.parquet
    """
    from barograph_server.batch.skew.skew import skew

    with Terminal(stderr=True).status("reading") as status:
        report = skew(
            served,
            recomputed,
            contract=contract,
            on=on,
            fields=fields or (),
            by=by or (),
            time=time,
            underlying=_parse_underlying(underlying or ()),
            begin=begin,
            end=end,
            tolerance=tolerance,
            settings=config,
            on_field=lambda name: status.update(SafeText(f"comparing {name}")),
        )
    if as_json:
        Terminal().json(report_json(report))
    else:
        print_report(Terminal(), report)
    if report.skewed:
        raise typer.Exit(EXIT_VIOLATIONS)


def _parse_underlying(texts: Sequence[str]) -> dict[str, str]:
    """Parse FIELD=COLUMN."""
    columns = {}
    for text in texts:
        field, equals, column = text.partition("=")
        if not (field and equals and column):
            raise CommandError(f"--underlying {text}: write FIELD=COLUMN.")
        columns[field] = column
    return columns
