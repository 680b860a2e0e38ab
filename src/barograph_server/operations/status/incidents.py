"""Finds the incidents that are open now, by replaying the alert rules over recent history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from barograph.contract.problems import ContractError

from barograph_server.alerts import AlertsError, Rule, rules_for
from barograph_server.alerts.incidents import Incident
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator import simulate
from barograph_server.contracts import read_contracts
from barograph_server.errors import CommandError
from barograph_server.operations.simulation.read import resolve_history
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.signals.recorded_history import read_recorded_history


@dataclass(frozen=True, slots=True)
class OpenIncidents:
    """The open incidents, or why they are unknown."""

    incidents: tuple[Incident, ...] = ()
    problem: str = ""


def read_open_incidents(client: Client, settings: AlertSettings) -> OpenIncidents:
    """Replay the rules of each contract up to the end of its history, and the rules of the pipeline up to the last."""
    incidents = []
    try:
        contracts = list(read_contracts(client).values())
        rules = rules_for(contracts, settings) if contracts else []
        for model in {rule.model for rule in rules}:
            models = [model] if model else [contract.model for contract in contracts]
            incidents += _firing(client, models, [rule for rule in rules if rule.model == model], settings)
    except (AlertsError, CommandError, ContractError, WarehouseError) as error:
        # The rest of the status must not depend on alert settings, or on tables that only alert rules read.
        return OpenIncidents(problem=str(error))
    return OpenIncidents(tuple(sorted(incidents, key=lambda each: (each.opened_at, each.model, each.name))))


def _firing(client: Client, models: Sequence[str], rules: Sequence[Rule], settings: AlertSettings) -> list[Incident]:
    """Replay 30 days, then twice as many as long as an incident fires almost since the begin of the replay."""
    recorded = read_recorded_history(client, models)
    if recorded is None:
        return []
    history, first = resolve_history(client, models, None, None, "auto"), int(recorded.first.timestamp())
    settled_s = max(rule.onset_s for rule in rules)
    while True:
        simulation = simulate(client, rules, settings, history.since, history.until, history.known)
        firing = [each for each in simulation.incidents if each.is_firing]
        if history.since <= first or all(each.opened_at > history.since + settled_s for each in firing):
            return firing
        history = replace(history, since=max(first, 2 * history.since - history.until))
