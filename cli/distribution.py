"""The command line of `barograph distribution`."""

import dataclasses
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any

from barograph_server.cli.options import Connection, Model, Opt, Options, Output
from barograph_server.errors import CommandError
from barograph_server.profiling.distribution.compute import (
    RANKS,
    Distribution,
    DistributionQuery,
    PsiVerdict,
    compute_distribution,
)
from barograph_server.profiling.distribution.read import PaneSelection, read_panes
from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.drift.rates import RATE_KINDS
from barograph_server.terminal import (
    LEVEL_STYLES,
    SafeText,
    TableColumn,
    Terminal,
    iso_utc,
    picked,
    plural,
    ratio,
    significant,
)
from barograph_server.times import parse_range

MAX_SHARES = 40
"""Bins or categories that the page lists."""
BAR_CHARS = 20
"""Length of the longest bar."""


def distribution_values(distribution: Distribution) -> dict[str, Any]:
    """Return what programs read."""
    panes = distribution.field_panes
    computed = [field.name for field in dataclasses.fields(distribution) if field.name != "field_panes"]
    return {
        **picked(panes, "selection.model", "version", "baseline_id"),
        **picked(panes.selection, "field", "slice_name", "start_s", "end_s"),
        "panes": panes.panes.num_rows,
        **picked(distribution, *computed),
        "named_unseen": [each._asdict() for each in distribution.named_unseen],
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
        terminal.rows(distribution.quantiles, [*_quantile_columns(distribution)])
    if distribution.shares:
        terminal.line()
        terminal.rows(distribution.shares[:MAX_SHARES], [*_share_columns(distribution)])
        if len(distribution.shares) > MAX_SHARES:
            terminal.line(f"… {len(distribution.shares) - MAX_SHARES:,} more; --format json lists all.")
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


def _quantile_columns(distribution: Distribution) -> Iterator[TableColumn]:
    training = "training" if distribution.field_panes.selection.slice_name == ALL else "training (all)"
    yield TableColumn("rank", "quantile", "g")
    yield TableColumn("value", format=significant, is_number=True)
    yield TableColumn(lambda each: f"{significant(each.low)}–{significant(each.high)}", "between", is_number=True)
    yield TableColumn("training", training, significant, is_number=True)


def _share_columns(distribution: Distribution) -> Iterator[TableColumn]:
    panes = distribution.field_panes
    largest = max((share.share for share in distribution.shares), default=0.0) or 1.0
    yield TableColumn("label", "category" if panes.layout.fields[panes.field_index].kind == "category" else "bin")
    yield TableColumn("n", format=",")
    yield TableColumn("share", format=".2%")
    yield TableColumn("training", format=".2%")
    yield TableColumn(lambda share: "█" * round(BAR_CHARS * share.share / largest), "")


def _psi_line(psi: PsiVerdict | None) -> SafeText:
    if psi is None:
        return SafeText("No PSI: training has no values to compare with.")
    line = SafeText(f"PSI {psi.psi:.4g} [{psi.low:.4g}, {psi.high:.4g}], ")
    line.append(psi.level, LEVEL_STYLES[psi.level])
    line.append(f"; df {psi.df:g}, φ {psi.phi:.3g} (of {psi.phi_window} windows), p {psi.p_value:.2g}")
    if psi.top_bin:
        line.append(f"; largest contribution from {psi.top_bin}")
    if psi.is_seasonal:
        line.append("; compared with the same hours of the week")
    return line.append(".")


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


MAX_BINS = 1_000


class DistributionOptions(Options, frozen=True):
    bins: Annotated[int | None, Opt("Show shares of N bins of equal width.", "N", min=1, max=MAX_BINS)] = None
    edges: Annotated[str | None, Opt("Show shares between these edges.", "A,B,…")] = None
    quantiles: Annotated[str | None, Opt("Show these quantiles, from 0 to 1.", "P,Q,…")] = None

    def query(self) -> DistributionQuery:
        if self.bins is not None and self.edges is not None:
            raise CommandError("--bins and --edges exclude each other; give one of them.")
        ranks = RANKS if self.quantiles is None else _parse_numbers("--quantiles", self.quantiles)
        if not all(0.0 <= rank <= 1.0 for rank in ranks):
            raise CommandError(f"--quantiles {self.quantiles}: write numbers from 0 to 1, such as 0.5,0.9,0.99.")
        cuts = None if self.edges is None else _parse_numbers("--edges", self.edges)
        if cuts is not None and not (len(cuts) <= MAX_BINS and all(a < b for a, b in pairwise(cuts))):
            raise CommandError(f"--edges {self.edges}: write at most {MAX_BINS:,} edges in ascending order.")
        return DistributionQuery(ranks, self.bins, cuts, has_quantiles=self.quantiles is not None)


def distribution_command(
    options: DistributionOptions,
    output: Output,
    connection: Connection,
    model: Model,
    field: Annotated[str, Opt("A feature, the score, the class or latency.", "NAME")],
    from_: Annotated[str, Opt("Start of the range.", "TIME")],
    to: Annotated[str, Opt("End of the range, exclusive.", "TIME")],
    version: Annotated[str | None, Opt("Version; required if the range has several.", "V")] = None,
    slice_name: Annotated[str, Opt("Slice of the traffic.", "NAME=VALUE", name="--slice")] = "all",
) -> None:
    """Show the distribution of a field in any range of the past: quantiles, shares, and PSI against training.

    Counts on the baseline's bins, nulls and categories are exact. Quantiles and shares of other bins come from the
    sketches of the panes and have a stated error. Times without an offset are UTC.

    Examples:
        barograph distribution --model flight-delay --field temp --from 2026-03-01 --to 2026-03-08
        barograph distribution --model m --field score --from 2026-03-01 --to 2026-03-02 --edges 0.2,0.5 --format json
    """
    query = options.query()
    start, stop = parse_range(from_, to)
    selection = PaneSelection(model, field, int(start.timestamp()), math.ceil(stop.timestamp()), version, slice_name)
    with connection.warehouse() as client:
        distribution = compute_distribution(read_panes(client, selection), query)
    output.show(distribution, print_distribution, values=distribution_values)


def _parse_numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CommandError(f"{option} {text}: write numbers separated by commas, such as 0.2,0.5.") from None
    if not all(map(math.isfinite, numbers)):
        raise CommandError(f"{option} {text}: write finite numbers.")
    return numbers
