"""The command line of `barograph status`."""

from __future__ import annotations

from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, FormatOption


def status_command(
    drills: Annotated[bool, typer.Option("--drills", help="Include the models of live drills.")] = False,
    form: FormatOption = "table",
    config: ConfigOption = None,
) -> None:
    """Show the state of models and processors, and open incidents.

    Incidents: what the alert rules fire now, one per model and cause. Models: last traffic, the time up to which
    verdicts are final, their completeness, and the number of latest verdicts per level on the slice `all`. Events
    that are not counted or not measured: dead letters, invalid values, unknown classes, and labels of the wrong type
    or without a prediction, each with its first and last time. Processors: lag, rate, last commit, and whether they
    still report. Losses: ranges of events that no verdict includes. Reads ClickHouse only.

    Examples:
        barograph status
        barograph status --format json | jq '.models[].levels'
    """
    from barograph_server.cli.status_text import print_status, status_json
    from barograph_server.operations.status.incidents import read_open_incidents
    from barograph_server.operations.status.read import read_status
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
    from barograph_server.warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        status = read_status(client, drills=drills)
        incidents = read_open_incidents(client, settings.alerts)
    if form == "json":
        Terminal().json(status_json(status, incidents))
    else:
        print_status(Terminal(), status, incidents)
