"""Inputs of simulations: the alert rules, and the range of recorded history."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from barograph.contract import Contract

from barograph_server.alerts import Rule, rules_for
from barograph_server.alerts.settings import AlertSettings
from barograph_server.errors import CommandError
from barograph_server.terminal import iso_utc
from barograph_server.times import parse_since
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import FactTime
from barograph_server.warehouse.signals.recorded_history import read_recorded_history

KnownOption = Literal["auto", "judged", "ended"]


@dataclass(frozen=True, slots=True)
class HistoryRange:
    """A range of recorded history, in Unix seconds."""

    since: int
    until: int
    known: FactTime
    """When a verdict takes effect."""


def select_rules(contracts: Sequence[Contract], settings: AlertSettings, names: Collection[str]) -> list[Rule]:
    """Make the rules of contracts, and select those of some names; all without names.

    Raises:
        AlertsError: contracts and settings contradict each other.
    """
    rules = rules_for(contracts, settings)
    defined = list(dict.fromkeys(rule.name for rule in rules))
    for name in names:
        if name not in defined:
            raise CommandError(f"--rule {name}: these contracts have no such rule; they have {', '.join(defined)}.")
    return [rule for rule in rules if not names or rule.name in names]


def resolve_history(
    client: Client, models: Sequence[str], since: str | None, until: str | None, known: KnownOption
) -> HistoryRange:
    """Determine the range of history: by default all that is recorded, at most 30 days."""
    history = read_recorded_history(client, models)
    if history is None:
        raise CommandError("There is no history: no window of these models has a verdict yet.")
    effective: FactTime = ("ended" if history.was_replayed else "judged") if known == "auto" else known
    end = history.last if effective == "ended" else max(history.last, datetime.now(UTC).replace(microsecond=0))
    last = parse_since("--until", until, end) if until else end
    first = parse_since("--since", since or "30d", last)
    first = first if since else max(first, history.first)
    if first >= last:
        raise CommandError(f"--since {iso_utc(first)} is not before {iso_utc(last)}, the end of the history.")
    return HistoryRange(int(first.timestamp()), int(last.timestamp()), effective)
