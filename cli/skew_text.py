"""Output of `barograph skew`: tables for people, JSON values for programs."""

from __future__ import annotations

from typing import Any

from barograph_server.batch.skew.compare import FieldSkew, SkewReport
from barograph_server.sketches.skew.field import Explanation, Skew
from barograph_server.terminal import AlignedTable, Terminal, plural, ratio

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
