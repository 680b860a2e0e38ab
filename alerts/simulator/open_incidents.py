"""Replays the alert rules for the incidents that are open at a time."""

from collections.abc import Iterator, Sequence

from barograph.contract import Contract

from barograph_server.alerts.rules import rules_for
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator.simulate import Simulation, simulate
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals.recorded_history import read_recorded_history

DAY_S = 86_400


def replay_until(
    client: Client, contracts: Sequence[Contract], settings: AlertSettings, until: int, model: str = ""
) -> Iterator[Simulation]:
    """Replay the rules of each model, and those of the pipeline, from before the incidents that are open at the end.

    Args:
        until: the end, Unix seconds. History that was judged long after its event time ends with its last window at the
            latest: missing events after it are not silence.
        model: only its rules; empty: all.

    Raises:
        AlertsError: contracts and settings contradict each other.
    """
    rules = [rule for rule in rules_for(contracts, settings) if not model or rule.model == model]
    for each in dict.fromkeys(rule.model for rule in rules):
        recorded = read_recorded_history(client, [each] if each else [contract.model for contract in contracts])
        if recorded is None:
            continue
        own = [rule for rule in rules if rule.model == each]
        first, settled_s = int(recorded.first.timestamp()), max(rule.onset_s for rule in own)
        end = min(until, int(recorded.last.timestamp())) if recorded.was_replayed else until
        range_s = 30 * DAY_S
        while True:
            since = min(max(first, end - range_s), end)
            replayed = simulate(client, own, settings, since, end, "ended" if recorded.was_replayed else "judged")
            firing = (incident for incident in replayed.incidents if incident.is_firing)
            if since <= first or all(incident.opened_at > since + settled_s for incident in firing):
                break
            range_s *= 2
        yield replayed
