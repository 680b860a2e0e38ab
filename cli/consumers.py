"""The command line of `barograph consumers`."""

from __future__ import annotations

from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption


def consumers_command(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Start of the range of queries: a time, or how long ago.")
    ] = "30d",
    store: Annotated[bool, typer.Option("--store", help="Also store the readers, for the rule on them.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show who reads topics, tables and dashboards, and who of them no contract declares.

    Consumer groups come from Kafka, users from ClickHouse's query log, dashboards and alert rules from Grafana, and
    callers from the context of predictions. Topics and tables hold all models, so a reader is declared if any contract
    names it in its section `consumers`. Processors, the commands of Barograph, and its own pages and rules do not
    count.

    With --store, run it once a day: the alert rule `undeclared-reader` reads what it stored.

    Exits with 1 if there is a reader that no contract declares.

    Examples:
        barograph consumers
        barograph consumers --since 7d --json | jq '.undeclared[].name'
    """
    from datetime import UTC, datetime

    from barograph_server.cli.consumers_text import consumers_json, print_consumers
    from barograph_server.contracts import read_contracts
    from barograph_server.errors import EXIT_FAILED
    from barograph_server.governance.readers.read import read_consumers
    from barograph_server.governance.readers.store import store_readers
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
    from barograph_server.times import parse_since
    from barograph_server.warehouse.client import connect

    start = parse_since("--since", since, datetime.now(UTC))
    settings = load_settings(config)
    with connect(settings.warehouse) as client:
        report = read_consumers(settings, client, list(read_contracts(client).values()), start)
        if store:
            store_readers(client, report, datetime.now(UTC))
    if as_json:
        Terminal().json(consumers_json(report))
    else:
        print_consumers(Terminal(), report)
    if report.undeclared:
        raise typer.Exit(EXIT_FAILED)
