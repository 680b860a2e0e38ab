"""`barograph simulate --live`: evaluates the rules of the contracts in force continuously."""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from barograph.contract import Contract

from barograph_server.alerts import AlertsError, Rule, rules_for
from barograph_server.alerts.rule import definitions
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.wall_clock import LiveAlerts
from barograph_server.alerts.webhooks import Sender
from barograph_server.contracts import contracts_in_force
from barograph_server.errors import CommandError
from barograph_server.settings import Settings
from barograph_server.terminal import Terminal, iso_utc, plural, utc_second
from barograph_server.times import parse_since
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.signals import FactTime
from barograph_server.warehouse.signals.recorded_history import read_recorded_history

STEP_S = 1.0
"""Pause between evaluations, in seconds."""
CONTRACTS_S = 60.0
"""How often contracts are reread, in seconds."""
TIMEOUT_S = 30
"""Time limit of one query, in seconds."""


def run_live(
    settings: Settings,
    model: str | None,
    names: Collection[str],
    stop: threading.Event,
    environ: Mapping[str, str] = os.environ,
    *,
    clock: Callable[[], float] = time.time,
) -> None:
    """Evaluate the rules until `stop`, print changes of state and send to the contact points.

    While ClickHouse is unavailable the rules cannot be evaluated, which raises an alert of its own.

    Args:
        model: the model whose rules to evaluate; None for all.
        names: the names of the rules; empty for all.

    Raises:
        AlertsError: contracts and settings contradict each other.
    """

    def log(text: str) -> None:
        # The caller stops ClickHouse after `stop`, so an error of a query that was running is not one.
        if not stop.is_set():
            Terminal().line(f"{utc_second(time.time())}  {text}")

    sender = Sender(settings.alerts, environ, log)
    rules, live, read_at = list[Rule](), None, -CONTRACTS_S
    try:
        with connect(settings.warehouse, timeout_s=TIMEOUT_S) as client:
            while not stop.is_set():
                if time.monotonic() - read_at >= CONTRACTS_S:
                    read_at = time.monotonic()
                    try:
                        current = select_rules(contracts_in_force(client, model), settings.alerts, names)
                    except (WarehouseBusy, WarehouseError, CommandError, AlertsError) as error:
                        if live is None and not isinstance(error, CommandError):
                            raise
                        log(f"{error} The rules stay unchanged.")
                        current = rules
                    if live is None or definitions(current) != definitions(rules):
                        # States start over, as in Grafana when a rule changes.
                        rules, live = current, LiveAlerts(current, settings.alerts, log)
                        models = {rule.model for rule in rules if rule.model}
                        log(f"{plural(len(rules), 'rule')} of {plural(len(models), 'model')}.")
                assert live is not None
                for notification, alerts in live.step(client, int(clock())):
                    sender.send(notification, alerts)
                    counts = f"{len(notification.firing)} firing, {len(notification.resolved)} resolved"
                    log(f"→ {notification.point}: {counts}")
                stop.wait(STEP_S)
    finally:
        sender.close()


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
