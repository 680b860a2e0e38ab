"""The command line of `barograph doctor`."""

from collections import Counter
from collections.abc import Sequence

import typer

from barograph_server.cli.options import Connection, Output
from barograph_server.errors import EXIT_FAILED
from barograph_server.finding import Finding, FindingLevel
from barograph_server.terminal import SafeText, Terminal, one_line, plural

_STYLES = {
    FindingLevel.OK: "green",
    FindingLevel.WARNING: "yellow",
    FindingLevel.ERROR: "bold red",
    FindingLevel.UNKNOWN: "dim",
}


def print_finding(terminal: Terminal, finding: Finding) -> None:
    """Print a line with the finding, and below it a line with the action."""
    line = SafeText(f"{finding.level.value:<8}", style=_STYLES[finding.level])
    line.append(f"{finding.subject:<11} ", style="bold")
    terminal.line(line.append(one_line(finding.message), style=""))
    if finding.action:
        terminal.line(f"{'':<20}→ {one_line(finding.action)}")


def print_summary(terminal: Terminal, findings: Sequence[Finding]) -> None:
    """Print the number of findings per level."""
    counts = Counter(finding.level for finding in findings)
    texts = [plural(counts[status], status.value) for status in (FindingLevel.ERROR, FindingLevel.WARNING)]
    terminal.line(f"{', '.join(texts)}, {counts[FindingLevel.OK]} ok, {counts[FindingLevel.UNKNOWN]} unknown.", "bold")


def doctor_command(output: Output, connection: Connection) -> None:
    """Check Kafka, topics, ClickHouse, contracts, events, clocks and Grafana, and say how to fix problems.

    Exits with 1 if there is an error. Warnings and checks that were not possible (`unknown`) do not change the exit
    code. Changes nothing except for a temporary topic that tests transactions and the broker's clock.

    Examples:
        barograph doctor
        barograph doctor --format json | jq '.[] | select(.level == "error")'
    """
    from barograph_server.operations.doctor.run_checks import run_checks

    settings = connection.settings()
    terminal = Terminal()
    findings = []
    for finding in run_checks(settings):
        findings.append(finding)
        if not output.is_json:
            print_finding(terminal, finding)
    if output.is_json:
        terminal.json(findings)
    else:
        print_summary(terminal, findings)
    if any(finding.level is FindingLevel.ERROR for finding in findings):
        raise typer.Exit(EXIT_FAILED)
