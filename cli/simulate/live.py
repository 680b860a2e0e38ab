"""`barograph simulate --live`: the rules of the contracts in force, evaluated now and on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from alerts import AlertsError, Rule
from alerts.wall_clock import LiveAlerts
from alerts.webhooks import Sender
from cli.errors import CommandError
from cli.settings import Settings
from cli.simulate.read import contracts_in_force, rules_named
from warehouse.client import connect
from warehouse.errors import WarehouseBusy, WarehouseError
from warehouse.signals import point_sql

LOOK_S = 1.0
CONTRACTS_S = 60.0
"""How often contracts are read anew."""
TIMEOUT_S = 30


def run_live(
    settings: Settings,
    model: str | None,
    names: Collection[str],
    stop: threading.Event,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Evaluate until `stop`; what changes is printed, and contact points are told.

    ClickHouse may be away: rules then cannot be evaluated, which is told like any alert.

    Raises:
        CommandError: there is no contract.
        AlertsError: contracts and settings do not fit together.
    """
    sender = Sender(settings.alerts, environ, _say)
    rules, live, read_at = list[Rule](), None, -CONTRACTS_S
    try:
        with connect(settings.warehouse, timeout_s=TIMEOUT_S) as client:
            while not stop.is_set():
                if time.monotonic() - read_at >= CONTRACTS_S:
                    read_at = time.monotonic()
                    try:
                        found = rules_named(contracts_in_force(client, model), settings.alerts, names)
                    except (WarehouseBusy, WarehouseError, CommandError, AlertsError) as error:
                        if live is None and not isinstance(error, CommandError):
                            raise
                        _say(f"{error} The rules stay as they are.")
                        found = rules
                    if live is None or _changed(found, rules):
                        # States begin anew, as they do in Grafana where a rule is changed.
                        rules, live = found, LiveAlerts(found, settings.alerts, _say)
                        _say(f"{len(rules)} rules of {len({rule.model for rule in rules if rule.model})} models.")
                assert live is not None
                for told, alerts in live.step(client, int(time.time())):
                    sender.send(told, alerts)
                    _say(f"→ {told.point}: {len(told.firing)} firing, {len(told.resolved)} resolved")
                stop.wait(LOOK_S)
    finally:
        sender.close()


def watch(settings: Settings, stop: threading.Event) -> None:
    """Do the same beside other work: what ends it is said, and ends nothing else."""
    try:
        run_live(settings, None, (), stop)
    except Exception as error:
        _say(f"The alert rules are not evaluated any more: {error}")


def _changed(found: list[Rule], rules: list[Rule]) -> bool:
    def plain(rule: Rule) -> tuple[object, ...]:
        times = (rule.for_s, rule.keep_firing_for_s, rule.every_s)
        return rule.uid, point_sql(rule.signal), rule.threshold, rule.clear, times, sorted(rule.labels.items())

    return [plain(rule) for rule in found] != [plain(rule) for rule in rules]


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}  {text}", flush=True)
