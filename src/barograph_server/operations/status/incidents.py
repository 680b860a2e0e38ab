"""Finds the incidents that are open now, by replaying the alert rules over recent history."""

from __future__ import annotations

from dataclasses import dataclass

from barograph.contract.problems import ContractError

from barograph_server.alerts import AlertsError, rules_for
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
    """Replay the rules of all contracts over the last 30 days, as `barograph simulate` does.

    Raises:
        WarehouseBusy: ClickHouse cannot answer now.
    """
    try:
        contracts = list(read_contracts(client).values())
        models = [contract.model for contract in contracts]
        if not contracts or read_recorded_history(client, models) is None:
            return OpenIncidents()
        history = resolve_history(client, models, None, None, "auto")
        rules = rules_for(contracts, settings)
        simulation = simulate(client, rules, settings, history.since, history.until, history.known)
    except (AlertsError, CommandError, ContractError, WarehouseError) as error:
        # The rest of the status must not depend on alert settings, or on tables that only alert rules read.
        return OpenIncidents(problem=str(error))
    return OpenIncidents(tuple(each for each in simulation.incidents if each.is_firing))
