"""The command line of `barograph loops`."""

from __future__ import annotations

from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption


def loops_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.", show_default=False)],
    entity: Annotated[
        str,
        typer.Option(metavar="SOURCE", help="What returns: context.NAME, or a feature.", show_default=False),
    ],
    lag: Annotated[str, typer.Option(metavar="DURATION", help="Shortest time until the later prediction.")] = "1d",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Start of the event time: a time, or how long ago.")
    ] = "90d",
    fields: Annotated[
        list[str] | None, typer.Option("--field", metavar="NAME", help="Measure only this input; repeatable.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="OUTPUT",
            help="class=NAME, score>=NUMBER or score; by default the most frequent explored class.",
            show_default=False,
        ),
    ] = None,
    items: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", help="Text feature whose diversity is shown; by default the class.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show whether a model's outputs change its later inputs, from predictions with randomised outputs.

    Needs predictions with `exploration` and `propensity` in their context. Without them the verdict is `cannot tell`.
    Also shows the diversity of outputs by week, which does not change the verdict.

    Exits with 0 if no loop is seen, 1 if a loop is likely, 2 if the data cannot tell, 3 if the command fails.

    Examples:
        barograph loops flight-delay --entity tailnum --lag 12h
        barograph loops feed-ranker --entity context.user_id --output score --since 30d --json
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from barograph.contract import parse_duration

    from barograph_server.cli.loops_text import print_loops
    from barograph_server.contracts import read_contract
    from barograph_server.errors import EXIT_HOLD, EXIT_INSUFFICIENT, EXIT_OK, CommandError
    from barograph_server.governance.loops import LoopOptions, read_report
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
    from barograph_server.times import parse_since
    from barograph_server.warehouse.client import connect

    now = datetime.now(UTC)
    try:
        lag_s = parse_duration(lag)
    except ValueError:
        lag_s = 0
    if lag_s <= 0:
        raise CommandError(f"--lag {lag} is not a duration above 0; write one such as 12h or 1d.")
    options = LoopOptions(
        entity, lag_s, parse_since("--since", since, now), now, tuple(fields or ()), output, items or ""
    )
    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        report = read_report(client, read_contract(client, model), options)
    if as_json:
        Terminal().json(asdict(report))
    else:
        print_loops(Terminal(), report)
    codes = {"not seen": EXIT_OK, "likely": EXIT_HOLD, "cannot tell": EXIT_INSUFFICIENT}
    raise typer.Exit(codes[report.measurement.verdict.name])
