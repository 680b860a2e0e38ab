"""The command line of `barograph doctor`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from cli.errors import EXIT_FAILED
from cli.options import ConfigOption


def doctor_command(
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="For people or for programs.")] = "table",
    config: ConfigOption = None,
) -> None:
    """Look at Kafka, topics, ClickHouse, contracts, clocks and Grafana, and say what to do.

    Exits with 1 where something is wrong. What should be known and works (`look`), or could not be looked at
    (`unknown`), is said and is no failure. Nothing is changed, but for a topic of its own by which the broker's clock
    and transactions are tried; it is deleted again.

    Examples:
        barograph doctor
        barograph doctor --format json | jq '.[] | select(.state == "wrong")'
    """
    from rich.console import Console

    from cli.doctor.examine import examine
    from cli.doctor.finding import State
    from cli.doctor.show import finding_json, print_finding, print_summary
    from cli.settings import load_settings

    settings = load_settings(config)
    console = Console()
    found = []
    for finding in examine(settings):
        found.append(finding)
        if form == "table":
            print_finding(console, finding)
    if form == "json":
        print(json.dumps([finding_json(finding) for finding in found], ensure_ascii=False, indent=2))
    else:
        print_summary(console, found)
    if any(finding.state is State.WRONG for finding in found):
        raise typer.Exit(EXIT_FAILED)
