"""A distribution as a page for people and as an object for programs."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.check.command import share as percent
from cli.distribution.compute import Distribution, Psi, Share
from cli.distribution.read import moment
from cli.terminal import Text
from sketches.baseline.baseline import ALL

SHARES_SHOWN = 40
_STYLES = {"major": "bold red", "minor": "yellow", "insufficient": "dim", "stable": "green"}


def as_record(found: Distribution) -> dict[str, Any]:
    """The distribution as JSON holds it."""
    counted, psi = found.counted, found.psi
    asked = counted.asked
    return {
        "model": asked.model,
        "version": counted.version,
        "baseline_id": counted.baseline_id,
        "field": asked.field,
        "slice": asked.slice_name,
        "from": moment(asked.start_s),
        "to": moment(asked.end_s),
        "panes": counted.panes.num_rows,
        "n": found.n,
        "nulls": found.nulls,
        "invalid": found.invalid,
        "below": found.below,
        "above": found.above,
        "unseen": found.unseen,
        "mean": found.mean,
        "stddev": found.stddev,
        "minimum": found.minimum,
        "maximum": found.maximum,
        "rank_error": found.rank_error,
        "values_in_sketch": found.in_sketch,
        "quantiles": [
            {"rank": q.rank, "value": q.value, "low": q.low, "high": q.high, "training": q.training}
            for q in found.quantiles
        ],
        "shares_are": "exact" if found.are_exact else "sketched",
        "shares": [{"bin": s.label, "n": s.n, "share": s.share, "training": s.training} for s in found.shares],
        "unseen_values": [{"value": u.value, "at_least": u.lower, "at_most": u.upper} for u in found.named_unseen],
        "psi": None if psi is None else _psi_record(psi),
        "notes": list(found.notes),
    }


def _psi_record(psi: Psi) -> dict[str, Any]:
    return {
        "psi": psi.psi,
        "low": psi.low,
        "high": psi.high if math.isfinite(psi.high) else None,
        "level": psi.level,
        "df": psi.df,
        "p_value": psi.p_value,
        "phi": psi.phi,
        "phi_window": psi.phi_window,
        "seasonal": psi.is_seasonal,
        "top_bin": psi.top_bin,
    }


def print_distribution(found: Distribution, console: Console) -> None:
    """Print counts, quantiles, shares and PSI, with what is to be known beside them."""
    counted = found.counted
    asked = counted.asked

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    where = "" if asked.slice_name == ALL else f", slice {asked.slice_name}"
    say(
        f"{asked.field} of {asked.model} {counted.version}{where}, {moment(asked.start_s)} to {moment(asked.end_s)} "
        f"(baseline {counted.baseline_id})"
    )
    say(_counts(found))
    if found.mean is not None:
        say(_moments(found))
    if found.quantiles:
        console.print()
        console.print(_quantiles(found))
    if found.shares:
        console.print()
        console.print(_shares(found))
        if len(found.shares) > SHARES_SHOWN:
            say(f"… and {len(found.shares) - SHARES_SHOWN:,} more; --json holds all.")
    if found.named_unseen:
        say(f"unseen: {', '.join(f'{each.value} {_between(each.lower, each.upper)}' for each in found.named_unseen)}")
    console.print()
    console.print(_psi(found.psi), soft_wrap=True)
    if found.rank_error is not None:
        if found.rank_error:
            say(
                f"Quantiles{'' if found.are_exact else ' and shares'} are read from a sketch of {found.in_sketch:,} "
                f"values: a rank is off by at most {100 * found.rank_error:.2f} %, with 99 % confidence."
            )
        else:
            say(f"The sketch still holds each of the {found.in_sketch:,} values: ranks are exact.")
    for note in found.notes:
        say(f"{note[:1].upper()}{note[1:]}.")


def _counts(found: Distribution) -> str:
    events = found.n + found.invalid
    parts = [f"{found.n:,} events"]
    for name, count, of in (
        ("null", found.nulls, found.n),
        ("invalid", found.invalid, events),
        ("below the range", found.below, found.n),
        ("above the range", found.above, found.n),
        ("unseen", found.unseen, found.n),
    ):
        if count or name in ("null", "invalid"):
            parts.append(f"{name} {count:,}{f' ({percent(count, of)})' if count else ''}")
    return ", ".join(parts)


def _moments(found: Distribution) -> str:
    parts = [f"mean {found.mean:.6g}"]
    if found.stddev is not None:
        parts.append(f"standard deviation {found.stddev:.6g}")
    return ", ".join([*parts, f"least {found.minimum:.6g}", f"largest {found.maximum:.6g}"])


def _quantiles(found: Distribution) -> Table:
    sliced = found.counted.asked.slice_name != ALL
    table = _table("quantile", "value", "between", "training (all)" if sliced else "training", text=())
    for each in found.quantiles:
        training = "" if each.training is None else f"{each.training:.6g}"
        table.add_row(f"{each.rank:g}", f"{each.value:.6g}", f"{each.low:.6g}–{each.high:.6g}", training)
    return table


def _shares(found: Distribution) -> Table:
    kind = found.counted.layout.fields[found.counted.field_index].kind
    table = _table("category" if kind == "category" else "bin", "n", "share", "training", "", text=(0, 4))
    widest = max((each.share for each in found.shares), default=0.0) or 1.0
    for each in found.shares[:SHARES_SHOWN]:
        table.add_row(*_share_cells(each, widest))
    return table


def _share_cells(each: Share, widest: float) -> tuple[Text | str, ...]:
    training = "" if each.training is None else f"{100 * each.training:.2f} %"
    bar = "█" * round(20 * each.share / widest)
    return Text(each.label), f"{each.n:,}", f"{100 * each.share:.2f} %", training, bar


def _psi(psi: Psi | None) -> Text:
    if psi is None:
        return Text("No PSI: training held nothing of it to compare with.")
    text = Text(f"PSI {psi.psi:.4g} [{psi.low:.4g}, {psi.high:.4g}], ")
    text.append(psi.level, _STYLES[psi.level])
    text.append(f"; df {psi.df}, φ {psi.phi:.3g} (of {psi.phi_window} windows), p {psi.p_value:.2g}")
    if psi.top_bin:
        text.append(f"; most of it in {psi.top_bin}")
    if psi.is_seasonal:
        text.append("; against the same hours of the week")
    text.append(".")
    return text


def _between(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _table(*names: str, text: tuple[int, ...]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for position, name in enumerate(names):
        table.add_column(name, justify="left" if position in text else "right", overflow="fold")
    return table
