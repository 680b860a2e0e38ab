"""What a comparison found, as a table for people and as an object for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from cli.check.command import share
from cli.skew.compare import Comparison, FieldSkew
from cli.terminal import Text
from sketches.skew.field import Explanation, Skew

_SHOWN_CHARS = 40
_WORTH_TELLING = 0.1
"""The least share that a candidate explains where people are told of it."""


def as_record(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON holds it."""
    joined = found.joined
    return {
        "served_rows": joined.served_rows,
        "recomputed_rows": joined.recomputed_rows,
        "compared_rows": len(joined),
        "only_served": joined.only_served,
        "only_recomputed": joined.only_recomputed,
        "repeated_recomputed": joined.repeated,
        "fields": [_field_record(each) for each in found.fields],
        "not_compared": {each.name: each.why for each in found.left_out},
    }


def _field_record(found: FieldSkew) -> dict[str, Any]:
    skew = found.skew
    return {
        "field": found.field.name,
        "compared": skew.compared,
        "mismatched": skew.mismatched,
        "rate": skew.rate,
        "rate_low": skew.low,
        "rate_high": skew.high,
        "kinds": list(skew.kinds),
        "explanations": [
            {
                "kind": each.kind,
                "detail": each.detail,
                "named": each.is_named,
                "explained": each.explained,
                "judged": each.judged,
                "of": each.of,
                "share": each.share,
                "share_low": each.low,
            }
            for each in skew.explanations
        ],
        "precision": skew.precision,
        "samples": [{"id": one.id, "served": one.served, "recomputed": one.recomputed} for one in found.samples],
    }


def print_comparison(found: Comparison, console: Console) -> None:
    """Print the fields that differ with their kinds and first rows, then what was compared and what was not."""
    skewed = found.skewed
    if skewed:
        console.print(_table(skewed))
        for each in skewed:
            console.print()
            console.print(_samples(each))
        console.print()
    for each in found.fields:
        if each.skew.precision:
            console.print(Text(f"{each.field.name}: no mismatch, but {each.skew.precision}."), soft_wrap=True)
    for left_out in found.left_out:
        console.print(Text(f"{left_out.name} is not compared: {left_out.why}."), soft_wrap=True)
    console.print(Text(_summary(found)), soft_wrap=True)


def _table(skewed: list[FieldSkew]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("field", "compared", "mismatched", "rate", "95 % interval", "kind", "how"):
        right = name in ("compared", "mismatched", "rate", "95 % interval")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for each in skewed:
        skew = each.skew
        cells = (
            each.field.name,
            f"{skew.compared:,}",
            f"{skew.mismatched:,}",
            share(skew.mismatched, skew.compared),
            f"{100 * skew.low:.3g}–{100 * skew.high:.3g} %",
            ", ".join(skew.kinds),
            "; ".join(filter(None, (_told(one, skew) for one in skew.explanations)))
            or "no rule that is known here fits",
        )
        table.add_row(*map(Text, cells))
    return table


def _told(each: Explanation, skew: Skew) -> str:
    """A named rule, with the share it explains where that is not all; a candidate that explains a good part."""
    part = f"{share(each.of, skew.mismatched)}: " if each.of < skew.mismatched else ""
    if each.is_named:
        kind = f"{each.kind}, " if "unexplained" in skew.kinds else ""
        rest = f" ({share(each.explained, each.judged)} of them)" if each.explained < each.judged else ""
        return f"{part}{kind}{each.detail}{rest}"
    if each.share < _WORTH_TELLING:
        return ""
    few = f" of {each.judged:,}" if each.judged < 100 else ""
    explains = f"{share(each.explained, each.judged)}{few}, at least {100 * each.low:.0f} %"
    return f"{part}best candidate: {each.kind}, {each.detail} ({explains})"


def _samples(each: FieldSkew) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in (each.field.name, "served", "recomputed"):
        table.add_column(Text(name), overflow="fold")
    for one in each.samples:
        table.add_row(*(Text("null" if cell is None else cell[:_SHOWN_CHARS]) for cell in _cells(one)))
    return table


def _cells(one: Any) -> tuple[str | None, ...]:
    return one.id, one.served, one.recomputed


def _summary(found: Comparison) -> str:
    joined = found.joined
    told = f"{len(joined):,} predictions compared, {len(found.fields)} fields: "
    n = len(found.skewed)
    told += f"{n} with skew." if n else "no skew."
    if joined.only_served:
        told += f" {joined.only_served:,} were served and not recomputed."
    if joined.only_recomputed:
        told += f" {joined.only_recomputed:,} were recomputed and not served."
    if joined.repeated:
        told += f" {joined.repeated:,} recomputed rows repeat an id; the first of each counts."
    return told
