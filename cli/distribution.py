"""The command line of `barograph distribution`."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from barograph_server.profiling.distribution.compute import DistributionQuery

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
    from barograph_server.cli.distribution_text import distribution_json, print_distribution
    from barograph_server.profiling.distribution.compute import compute_distribution
    from barograph_server.profiling.distribution.read import PaneSelection, read_panes
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
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
