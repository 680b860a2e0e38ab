"""The command line of `barograph status`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from cli.options import ConfigOption


def status_command(
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="For people or for programs.")] = "table",
    config: ConfigOption = None,
) -> None:
    """Show how the models and the pipeline are, from ClickHouse alone.

    Models: when they had traffic last, until when verdicts are final, how complete these are, and how many of the
    last verdicts on the slice `all` are of each level. Processors: lag, rate, last commit, and whether they still
    report. Losses: ranges of events that are in no verdict.

    Examples:
        barograph status
        barograph status --format json | jq '.models[].levels'
    """
    from rich.console import Console

    from cli.settings import load_settings
    from cli.status.read import read_status
    from cli.status.show import print_status, status_json
    from warehouse.client import connect

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        found = read_status(client)
    if form == "json":
        print(json.dumps(status_json(found), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        print_status(Console(), found)
