"""Output of `barograph changes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from barograph_server.terminal import AlignedTable, Terminal, cut, plural, utc_minute
from barograph_server.warehouse.governance.change_ranking import Change
from barograph_server.warehouse.governance.suspected_causes import ExplainedVerdict

MAX_REASON_CHARS = 80
MAX_RANKED = 3
"""Changes of a verdict that are printed; JSON has all."""


def changes_json(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Convert changes for `Terminal.json`."""
    return [asdict(each) for each in changes]


def print_changes(terminal: Terminal, changes: Sequence[Change]) -> None:
    """Print changes, the latest first."""
    if not changes:
        terminal.line("No change is recorded in this range.")
        return
    table = AlignedTable("time (UTC)", "model", "kind", "subject", "from → to", "source", "owner", "reason")
    for each in reversed(changes):
        owner = each.owner or each.changed_by
        table.row(
            *(utc_minute(each.changed_at), each.model or "any", each.kind, each.subject, each.versions),
            *(each.source or "-", owner or "-", cut(each.reason, MAX_REASON_CHARS)),
        )
    terminal.table(table)


def causes_json(explained: Sequence[ExplainedVerdict]) -> list[dict[str, Any]]:
    """Convert verdicts and their ranked changes for `Terminal.json`."""
    return [asdict(each) for each in explained]


def print_causes(terminal: Terminal, explained: Sequence[ExplainedVerdict]) -> None:
    """Print each verdict that became major, with the changes before it."""
    if not explained:
        terminal.line("No verdict became major in this range.")
        return
    for each in explained:
        verdict = each.verdict
        terminal.line(
            f"{verdict.field}: {verdict.signal} of the {verdict.window} window until {utc_minute(verdict.window_end)}, "
            f"version {verdict.version}",
            "bold",
        )
        terminal.line(f"  {each.text}")
        table = AlignedTable("", "change", "time (UTC)", "relation", "timing", "likelihood")
        for rank, ranked in enumerate(each.ranked[:MAX_RANKED], start=1):
            change = ranked.change
            table.row(
                str(rank),
                change.title,
                utc_minute(change.changed_at),
                ranked.relation,
                ranked.timing,
                ranked.likelihood,
            )
        if each.ranked:
            terminal.table(table)
        terminal.line()
    n_likely = sum(bool(each.ranked) and each.ranked[0].likelihood == "likely" for each in explained)
    terminal.line(f"{plural(len(explained), 'verdict')} became major; {n_likely} with a likely cause.")
