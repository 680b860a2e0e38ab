"""Replays rules over recorded history: states, episodes and notifications as in Grafana and Alertmanager."""

from barograph_server.alerts.simulator.history import Changes, Episode, Replay, read_changes, replay
from barograph_server.alerts.simulator.notify import Alert, Notification, dispatch
from barograph_server.alerts.simulator.simulate import Simulation, simulate
from barograph_server.alerts.simulator.states import Instance, State, Transition, Zone, zone_of

__all__ = [
    "Alert",
    "Changes",
    "Episode",
    "Instance",
    "Notification",
    "Replay",
    "Simulation",
    "State",
    "Transition",
    "Zone",
    "dispatch",
    "read_changes",
    "replay",
    "simulate",
    "zone_of",
]
