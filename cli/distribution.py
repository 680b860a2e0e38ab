"""The command line of `barograph distribution`."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from barograph_server.cli.options import ConfigOption, JsonOption
from barograph_server.profiling.distribution.compute import BinShare, Distribution, PsiVerdict
from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.drift.rates import RATE_KINDS
from barograph_server.terminal import (
    LEVEL_STYLES,
    AlignedTable,
    SafeText,
    Terminal,
    iso_utc,
    plural,
    ratio,
    significant,
)

if TYPE_CHECKING:
    from barograph_server.profiling.distribution.compute import DistributionQuery

MAX_SHARES = 40
"""Bins or categories that the page lists."""
BAR_CHARS = 20
"""Length of the longest bar."""


def distribution_json(distribution: Distribution) -> dict[str, Any]:
    """Make the values of the JSON output."""
    panes, psi = distribution.field_panes, distribution.psi
    selection = panes.selection
    return {
        "model": selection.model,
        "version": panes.version,
        "baseline_id": panes.baseline_id,
        "field": selection.field,
        "slice": selection.slice_name,
        "from": iso_utc(selection.start_s),
        "to": iso_utc(selection.end_s),
        "panes": panes.panes.num_rows,
        "n": distribution.n,
        **distribution.counts,
        "mean": distribution.mean,
        "stddev": distribution.stddev,
        "minimum": distribution.minimum,
        "maximum": distribution.maximum,
        "rank_error": distribution.rank_error,
        "values_in_sketch": distribution.in_sketch,
        "quantiles": [
            {"rank": q.rank, "value": q.value, "low": q.low, "high": q.high, "training": q.training}
            for q in distribution.quantiles
        ],
        "shares_are": "exact" if distribution.are_exact else "sketched",
        "shares": [
            {"bin": share.label, "n": share.n, "share": share.share, "training": share.training}
            for share in distribution.shares
        ],
        "unseen_values": [
            {"value": value.value, "at_least": value.lower, "at_most": value.upper}
            for value in distribution.named_unseen
        ],
        "psi": None if psi is None else _psi_json(psi),
        "notes": list(distribution.notes),
    }


def _psi_json(psi: PsiVerdict) -> dict[str, Any]:
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


def print_distribution(terminal: Terminal, distribution: Distribution) -> None:
    """Print counts, quantiles, shares, PSI and notes."""
    panes = distribution.field_panes
    selection = panes.selection
    slice_name = "" if selection.slice_name == ALL else f", slice {selection.slice_name}"
    terminal.line(
        f"{selection.field} of {selection.model} {panes.version}{slice_name}, {iso_utc(selection.start_s)} to "
        f"{iso_utc(selection.end_s)} (baseline {panes.baseline_id})"
    )
    terminal.line(_counts(distribution))
    if distribution.mean is not None:
        terminal.line(_moments(distribution))
    if distribution.quantiles:
        terminal.line()
        terminal.table(_quantile_table(distribution))
    if distribution.shares:
        terminal.line()
        terminal.table(_share_table(distribution))
        if len(distribution.shares) > MAX_SHARES:
            terminal.line(f"… {len(distribution.shares) - MAX_SHARES:,} more; --json lists all.")
    if distribution.named_unseen:
        values = (f"{value.value} {_range(value.lower, value.upper)}" for value in distribution.named_unseen)
        terminal.line(f"unseen: {', '.join(values)}")
    terminal.line()
    terminal.line(_psi_line(distribution.psi))
    if distribution.rank_error:
        figures = "Quantiles" if distribution.are_exact else "Quantiles and shares"
        terminal.line(
            f"{figures} come from a sketch of {plural(distribution.in_sketch, 'value')}: the rank error is at most "
            f"{100 * distribution.rank_error:.2f}%, with 99% confidence."
        )
    elif distribution.rank_error is not None:
        terminal.line(f"The sketch holds each of the {plural(distribution.in_sketch, 'value')}: ranks are exact.")
    terminal.lines(f"{note[:1].upper()}{note[1:]}." for note in distribution.notes)


def _counts(distribution: Distribution) -> str:
    counts = [plural(distribution.n, "event")]
    for kind in RATE_KINDS:
        name, count = f"{kind.name} the range" if kind.limit else kind.name, distribution.counts[kind.column.key]
        of = distribution.n + (count if name == "invalid" else 0)
        if count or name in ("null", "invalid"):
            counts.append(f"{name} {count:,}{f' ({ratio(count, of)})' if count else ''}")
    return ", ".join(counts)


def _moments(distribution: Distribution) -> str:
    moments = {
        "mean": distribution.mean,
        "standard deviation": distribution.stddev,
        "minimum": distribution.minimum,
        "maximum": distribution.maximum,
    }
    return ", ".join(f"{name} {significant(value)}" for name, value in moments.items() if value is not None)


def _quantile_table(distribution: Distribution) -> AlignedTable:
    training = "training" if distribution.field_panes.selection.slice_name == ALL else "training (all)"
    columns = ("quantile", "value", "between", training)
    table = AlignedTable(*columns, numbers=columns)
    for quantile in distribution.quantiles:
        table.row(
            f"{quantile.rank:g}",
            significant(quantile.value),
            f"{significant(quantile.low)}–{significant(quantile.high)}",
            "" if quantile.training is None else significant(quantile.training),
        )
    return table


def _share_table(distribution: Distribution) -> AlignedTable:
    panes = distribution.field_panes
    kind = panes.layout.fields[panes.field_index].kind
    numbers = ("n", "share", "training")
    table = AlignedTable("category" if kind == "category" else "bin", *numbers, "", numbers=numbers)
    largest = max((share.share for share in distribution.shares), default=0.0) or 1.0
    for share in distribution.shares[:MAX_SHARES]:
        table.row(*_share_cells(share, largest))
    return table


def _share_cells(share: BinShare, largest: float) -> tuple[str, ...]:
    training = "" if share.training is None else f"{share.training:.2%}"
    bar = "█" * round(BAR_CHARS * share.share / largest)
    return share.label, f"{share.n:,}", f"{share.share:.2%}", training, bar


def _psi_line(psi: PsiVerdict | None) -> SafeText:
    if psi is None:
        return SafeText("No PSI: training has no values to compare with.")
    line = SafeText(f"PSI {psi.psi:.4g} [{psi.low:.4g}, {psi.high:.4g}], ")
    line.append(psi.level, LEVEL_STYLES[psi.level])
    line.append(f"; df {psi.df}, φ {psi.phi:.3g} (of {psi.phi_window} windows), p {psi.p_value:.2g}")
    if psi.top_bin:
        line.append(f"; largest contribution from {psi.top_bin}")
    if psi.is_seasonal:
        line.append("; compared with the same hours of the week")
    return line.append(".")


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


MAX_BINS = 1_000


def distribution_command(
    model: Annotated[str, typer.Option(metavar="NAME", help="Name of the model.", show_default=False)],
    field: Annotated[
        str, typer.Option(metavar="NAME", help="A feature, the score, the class or latency.", show_default=False)
    ],
    begin: Annotated[str, typer.Option("--from", metavar="TIME", help="Start of the range.", show_default=False)],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="End of the range, exclusive.", show_default=False)],
    version: Annotated[
        str | None,
        typer.Option(metavar="V", help="Version; required if the range has several.", show_default=False),
    ] = None,
    slice_name: Annotated[str, typer.Option("--slice", metavar="NAME=VALUE", help="Slice of the traffic.")] = "all",
    bins: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=MAX_BINS, help="Show shares of N bins of equal width.", show_default=False
        ),
    ] = None,
    edges: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Show shares between these edges.", show_default=False)
    ] = None,
    quantiles: Annotated[
        str | None, typer.Option(metavar="P,Q,…", help="Show these quantiles, from 0 to 1.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the distribution of a field in any range of the past: quantiles, shares, and PSI against training.

    Counts on the baseline's bins, nulls and categories are exact. Quantiles and shares of other bins come from the
    sketches of the panes and have a stated error. Times without an offset are UTC.

    Examples:
        barograph distribution --model flight-delay --field temp --from 2026-03-01 --to 2026-03-08
        barograph distribution --model m --field score --from 2026-03-01 --to 2026-03-02 --edges 0.2,0.5 --json
    """
    from barograph_server.profiling.distribution.compute import compute_distribution
    from barograph_server.profiling.distribution.read import PaneSelection, read_panes
    from barograph_server.settings import load_settings
    from barograph_server.times import parse_range
    from barograph_server.warehouse.client import connect

    query = _parse_query(bins, edges, quantiles)
    start, stop = parse_range(begin, end)
    selection = PaneSelection(model, field, int(start.timestamp()), math.ceil(stop.timestamp()), version, slice_name)
    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        distribution = compute_distribution(read_panes(client, selection), query)
    if as_json:
        Terminal().json(distribution_json(distribution))
    else:
        print_distribution(Terminal(), distribution)


def _parse_query(bins: int | None, edges: str | None, quantiles: str | None) -> DistributionQuery:
    from barograph_server.errors import CommandError
    from barograph_server.profiling.distribution.compute import RANKS, DistributionQuery

    if bins is not None and edges is not None:
        raise CommandError("--bins and --edges exclude each other; give one of them.")
    ranks = RANKS if quantiles is None else _parse_numbers("--quantiles", quantiles)
    if not all(0.0 <= rank <= 1.0 for rank in ranks):
        raise CommandError(f"--quantiles {quantiles}: write numbers from 0 to 1, such as 0.5,0.9,0.99.")
    cuts = None if edges is None else _parse_numbers("--edges", edges)
    if cuts is not None and not (len(cuts) <= MAX_BINS and all(a < b for a, b in pairwise(cuts))):
        raise CommandError(f"--edges {edges}: write at most {MAX_BINS:,} edges in ascending order.")
    return DistributionQuery(ranks, bins, cuts, has_quantiles=quantiles is not None)


def _parse_numbers(option: str, text: str) -> tuple[float, ...]:
    from barograph_server.errors import CommandError

    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CommandError(f"{option} {text}: write numbers separated by commas, such as 0.2,0.5.") from None
    if not all(map(math.isfinite, numbers)):
        raise CommandError(f"{option} {text}: write finite numbers.")
    return numbers
