"""The doctor's findings for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from cli.doctor.finding import Finding, State
from cli.terminal import Text

_STYLES = {State.OK: "green", State.LOOK: "yellow", State.WRONG: "bold red", State.UNKNOWN: "dim"}


def print_finding(console: Console, finding: Finding) -> None:
    """A line with what was found, and one below it with what to do."""
    line = Text(f"{finding.state.value:<8}", style=_STYLES[finding.state])
    line.append(f"{finding.part:<11} ", style="bold")
    line.append(_one_line(finding.what), style="")
    console.print(line, soft_wrap=True)
    if finding.todo:
        console.print(Text(f"{'':<20}→ {_one_line(finding.todo)}"), soft_wrap=True)


def print_summary(console: Console, findings: Sequence[Finding]) -> None:
    """How many there were of each."""
    count = {state: sum(finding.state is state for finding in findings) for state in State}
    if count[State.WRONG]:
        text = f"{count[State.WRONG]} wrong, {count[State.LOOK]} to look at, {count[State.OK]} ok."
    elif count[State.LOOK]:
        text = f"Nothing is wrong; {count[State.LOOK]} to look at, {count[State.OK]} ok."
    else:
        text = "All is well."
    console.print(Text(text, style="bold"), soft_wrap=True)


def finding_json(finding: Finding) -> dict[str, str]:
    """A finding for programs."""
    return {"part": finding.part, "state": finding.state.value, "what": finding.what, "todo": finding.todo}


def _one_line(text: str) -> str:
    """Names and answers of servers may hold line feeds and codes of terminals."""
    return "".join(character if character.isprintable() else " " for character in text)
