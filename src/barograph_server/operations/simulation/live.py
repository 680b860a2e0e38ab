"""`barograph simulate --live`: evaluates the rules of the contracts in force continuously."""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping

from barograph_server.alerts import AlertsError, Rule
from barograph_server.alerts.rule import definitions
from barograph_server.alerts.wall_clock import LiveAlerts
from barograph_server.alerts.webhooks import Sender
from barograph_server.contracts import contracts_in_force
from barograph_server.errors import CommandError
from barograph_server.operations.simulation.read import select_rules
from barograph_server.settings import Settings
from barograph_server.terminal import Terminal, plural, utc_second
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError

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
        settings: ClickHouse and contact points.
        model: the model whose rules to evaluate; None for all.
        names: the names of the rules; empty for all.
        environ: holds the secrets of the contact points.
        clock: the time in Unix seconds.

    Raises:
        AlertsError: contracts and settings contradict each other.
    """

    def log(text: str) -> None:
        # The caller stops ClickHouse after `stop`, so an error of a query that was running is not one.
        if not stop.is_set():
            _log(text)

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


def _log(text: str) -> None:
    Terminal().line(f"{utc_second(time.time())}  {text}")
