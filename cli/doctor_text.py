"""Output of `barograph doctor`: lines for people, JSON values for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from barograph_server.operations.doctor.finding import CheckStatus, Finding
from barograph_server.terminal import SafeText, Terminal, one_line, plural

_STYLES = {
    CheckStatus.OK: "green",
    CheckStatus.WARNING: "yellow",
    CheckStatus.ERROR: "bold red",
    CheckStatus.UNKNOWN: "dim",
}


def print_finding(terminal: Terminal, finding: Finding) -> None:
    """Print a line with the finding, and below it a line with the action."""
    line = SafeText(f"{finding.status.value:<8}", style=_STYLES[finding.status])
    line.append(f"{finding.component:<11} ", style="bold")
    terminal.line(line.append(one_line(finding.message), style=""))
    if finding.action:
        terminal.line(f"{'':<20}→ {one_line(finding.action)}")


def print_summary(terminal: Terminal, findings: Sequence[Finding]) -> None:
    """Print the number of findings per status."""
    counts = Counter(finding.status for finding in findings)
    texts = [plural(counts[status], status.value) for status in (CheckStatus.ERROR, CheckStatus.WARNING)]
    terminal.line(f"{', '.join(texts)}, {counts[CheckStatus.OK]} ok, {counts[CheckStatus.UNKNOWN]} unknown.", "bold")


def finding_json(finding: Finding) -> dict[str, str]:
    """Make the JSON value of a finding."""
    return {
        "component": finding.component,
        "state": finding.status.value,
        "message": finding.message,
        "action": finding.action,
    }
