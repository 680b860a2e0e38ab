"""Follows one model of a live drill on the wall clock: its rules and its state, as the guard does."""

from __future__ import annotations

import math
import time

from barograph.guard.health import ModelHealth

from barograph_server.alerts.guard.blindness import LAG_RULE, blind_reason
from barograph_server.alerts.guard.degrading import degrading_instances
from barograph_server.alerts.guard.model_guard import ModelGuard
from barograph_server.alerts.guard.processor import is_due
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator import Notification, Replay, Simulation, Transition
from barograph_server.alerts.wall_clock import LiveAlerts
from barograph_server.alerts.webhooks import AlertMessage
from barograph_server.drills.guard_states import INSTANCE
from barograph_server.drills.run.plan import DrillModel
from barograph_server.warehouse.client import Client


class ModelFollower:
    """Evaluates the rules of one model on the wall clock, and follows its state, as the guard does."""

    def __init__(self, model: DrillModel, settings: AlertSettings) -> None:
        self.model, self._contract, self._rules = model.contract.model, model.contract, model.rules
        self._transitions: dict[str, list[Transition]] = {rule.uid: [] for rule in model.rules}
        self._alerts = LiveAlerts(model.rules, settings, lambda text: None, self._note)
        self._guard = ModelGuard(self.model, model.contract.fallback, INSTANCE)
        self._published: ModelHealth | None = None
        self._since_s = self._until_s = int(time.time())
        self.states: list[ModelHealth] = []
        """The first record of each state."""

    @property
    def last(self) -> ModelHealth | None:
        """The newest record."""
        return self._guard.last

    def step(self, client: Client, now_s: int) -> list[tuple[Notification, list[AlertMessage]]]:
        """Evaluate what is due, and return the notifications."""
        self._until_s = now_s
        notifications = self._alerts.step(client, now_s)
        instances = list(self._alerts.instances())
        rules = [rule for rule in self._rules if rule.name in self._contract.fallback.rules]
        lag = [each for each in instances if each.rule.name == LAG_RULE]
        blind = blind_reason(rules, self._alerts.errors(), lag)
        record = self._guard.evaluate(now_s, degrading_instances(self._contract, instances), blind)
        if not self.states or self.states[-1].state != record.state:
            self.states.append(record)
        return notifications

    def is_due(self) -> bool:
        """Whether the newest record must be published: it has news, or the last one is old."""
        return self.last is not None and is_due(self.last, self._published)

    def mark_published(self) -> None:
        """Record that the newest record was published."""
        self._published = self.last

    def simulation(self, verdict_delay_s: float) -> Simulation:
        """Return what the rules did, in the form of a simulation. It ends where verdicts end."""
        until = self._until_s - math.ceil(verdict_delay_s)
        replays = [Replay(rule, self._since_s, until, {}, self._transitions[rule.uid]) for rule in self._rules]
        return Simulation(self._since_s, until, tuple(replays), (), ())

    def _note(self, rule: Rule, change: Transition) -> None:
        self._transitions[rule.uid].append(change)
