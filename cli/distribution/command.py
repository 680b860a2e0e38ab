"""The command line of `barograph distribution`."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import ConfigOption

if TYPE_CHECKING:
    from cli.distribution.compute import Wanted

MAX_BINS = 1_000


def distribution_command(
    model: Annotated[str, typer.Option(metavar="NAME", help="The model.", show_default=False)],
    field: Annotated[
        str, typer.Option(metavar="NAME", help="A feature, the score, the class, latency.", show_default=False)
    ],
    begin: Annotated[str, typer.Option("--from", metavar="TIME", help="Start of the range.", show_default=False)],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Its end, exclusive.", show_default=False)],
    version: Annotated[
        str | None, typer.Option(metavar="V", help="The version, where several were served.", show_default=False)
    ] = None,
    slice_name: Annotated[str, typer.Option("--slice", metavar="NAME=VALUE", help="The slice.")] = "all",
    bins: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=MAX_BINS, help="Shares of N bins of equal width.", show_default=False),
    ] = None,
    edges: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Shares between these edges.", show_default=False)
    ] = None,
    quantiles: Annotated[
        str | None, typer.Option(metavar="P,Q,…", help="These quantiles, from 0 to 1.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write an object for programs.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show what a field held in any window of the past: quantiles, shares, and PSI against training.

    Counts on the baseline's bins, nulls and categories are exact. Quantiles and shares of other bins are read from the
    sketches that panes keep, with their error. Times are UTC where no offset is given.

    Examples:
        barograph distribution --model flight-delay --field temp --from 2026-03-01 --to 2026-03-08
        barograph distribution --model m --field score --from 2026-03-01 --to 2026-03-02 --edges 0.2,0.5 --json
    """
    from rich.console import Console

    from cli.distribution.compute import reckon
    from cli.distribution.read import Asked, read_counted
    from cli.distribution.show import as_record, print_distribution
    from cli.settings import load_settings
    from cli.times import parse_range
    from warehouse.client import connect

    wanted = _wanted(bins, edges, quantiles)
    start, stop = parse_range(begin, end)
    asked = Asked(model, field, int(start.timestamp()), math.ceil(stop.timestamp()), version, slice_name)
    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        found = reckon(read_counted(client, asked), wanted)
    if as_json:
        print(json.dumps(as_record(found), indent=2, ensure_ascii=False))
    else:
        print_distribution(found, Console())


def _wanted(bins: int | None, edges: str | None, quantiles: str | None) -> Wanted:
    from cli.distribution.compute import RANKS, Wanted
    from cli.errors import CommandError

    if bins is not None and edges is not None:
        raise CommandError("--bins and --edges both say which bins; write one of them.")
    ranks = RANKS if quantiles is None else _numbers("--quantiles", quantiles)
    if not all(0.0 <= rank <= 1.0 for rank in ranks):
        raise CommandError(f"--quantiles {quantiles}: write numbers from 0 to 1, such as 0.5,0.9,0.99.")
    cuts = None if edges is None else _numbers("--edges", edges)
    if cuts is not None and not (len(cuts) <= MAX_BINS and all(a < b for a, b in pairwise(cuts))):
        raise CommandError(f"--edges {edges}: write at most {MAX_BINS:,} edges, each above the one before.")
    return Wanted(ranks, bins, cuts, asks_quantiles=quantiles is not None)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    from cli.errors import CommandError

    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CommandError(f"{option} {text}: write numbers with commas between them, such as 0.2,0.5.") from None
    if not all(map(math.isfinite, numbers)):
        raise CommandError(f"{option} {text}: write numbers that are finite.")
    return numbers
