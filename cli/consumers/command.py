"""The command line of `barograph consumers`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import ConfigOption, JsonOption


def consumers_command(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Start of the range of queries: a time, or how long ago.")
    ] = "30d",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show who reads topics, tables and dashboards, and who of them no contract declares.

    Consumer groups come from Kafka, users from ClickHouse's query log, and dashboards from Grafana. Topics and tables
    hold all models, so a reader is declared if any contract names it in its section `consumers`. Processors, the
    commands of Barograph and its own pages do not count.

    Exits with 1 if there is a reader that no contract declares.

    Examples:
        barograph consumers
        barograph consumers --since 7d --json | jq '.undeclared[].name'
    """
    from datetime import UTC, datetime

    from cli.consumers.read import read_consumers
    from cli.consumers.show import consumers_json, print_consumers
    from cli.contracts import read_contracts
    from cli.errors import EXIT_FAILED
    from cli.settings import load_settings
    from cli.terminal import Terminal
    from cli.times import parse_since
    from warehouse.client import connect

    start = parse_since("--since", since, datetime.now(UTC))
    settings = load_settings(config)
    with connect(settings.warehouse) as client:
        report = read_consumers(settings, client, list(read_contracts(client).values()), start)
    if as_json:
        Terminal().json(consumers_json(report))
    else:
        print_consumers(Terminal(), report)
    if report.undeclared:
        raise typer.Exit(EXIT_FAILED)
