"""The command line of `barograph doctor`."""

from __future__ import annotations

import typer

from barograph_server.cli.options import ConfigOption, FormatOption
from barograph_server.errors import EXIT_FAILED


def doctor_command(form: FormatOption = "table", config: ConfigOption = None) -> None:
    """Check Kafka, topics, ClickHouse, contracts, events, clocks and Grafana, and say how to fix problems.

    Exits with 1 if there is an error. Warnings and checks that were not possible (`unknown`) do not change the exit
    code. Changes nothing except for a temporary topic that tests transactions and the broker's clock.

    Examples:
        barograph doctor
        barograph doctor --format json | jq '.[] | select(.state == "error")'
    """
    from barograph_server.cli.doctor_text import finding_json, print_finding, print_summary
    from barograph_server.operations.doctor.finding import CheckStatus
    from barograph_server.operations.doctor.run_checks import run_checks
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal

    settings = load_settings(config)
    terminal = Terminal()
    findings = []
    for finding in run_checks(settings):
        findings.append(finding)
        if form == "table":
            print_finding(terminal, finding)
    if form == "json":
        terminal.json([finding_json(finding) for finding in findings])
    else:
        print_summary(terminal, findings)
    if any(finding.status is CheckStatus.ERROR for finding in findings):
        raise typer.Exit(EXIT_FAILED)
