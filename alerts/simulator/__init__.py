"""Replays rules over recorded history: states, episodes and notifications as in Grafana and Alertmanager."""

from alerts.simulator.history import Changes, Episode, Replay, read_changes, replay
from alerts.simulator.notify import Alert, Notification, dispatch
from alerts.simulator.simulate import Simulation, simulate
from alerts.simulator.states import Instance, State, Transition, Zone, zone_of

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
