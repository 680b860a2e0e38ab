"""The guard as a process: evaluates the rules of all models on the wall clock and publishes the models' states.

Any number of instances may run. The one that owns the partition of `model-health` leads; the others wait. A new leader
continues from the records of the one before, pending rules included.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from barograph.contract import Contract
from barograph.guard.health import ModelHealth
from confluent_kafka import OFFSET_END, KafkaException, TopicPartition

from barograph_server.alerts.guard.degrading import LAG_RULE, PIPELINE_RULES, blind_reason, degrading_instances
from barograph_server.alerts.guard.health_history import HealthHistory
from barograph_server.alerts.guard.health_log import HealthLog
from barograph_server.alerts.guard.model_guard import ModelGuard, is_news
from barograph_server.alerts.guard.prompt_rollbacks import PromptRollbacks
from barograph_server.alerts.guard.suspected_causes import cause_history
from barograph_server.alerts.rule import Rule, definitions
from barograph_server.alerts.rules import rules_for
from barograph_server.alerts.settings import AlertsError, AlertSettings
from barograph_server.alerts.simulator import Notification
from barograph_server.alerts.wall_clock import LiveAlerts, LiveInstance
from barograph_server.alerts.webhooks import AlertMessage
from barograph_server.streams.broker.client import FATAL_ERRORS, explain, make_consumer
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.queries import is_drill

GROUP = "guard"
SESSION_TIMEOUT_S = 10.0
"""How long a leader may be silent before another takes over: much less than the age at which clients become blind."""
STEP_S = 1.0
"""Pause between evaluations."""
REPORT_S = 10.0
"""How often the record of each model is written, changed or not."""
QUERY_TIMEOUT_S = 20
"""How long a query may take. While ClickHouse hangs, one query of the rules and one insert wait for it between two
records; both together are shorter than the age at which clients become blind."""

Deliver = Callable[[Notification, list[AlertMessage]], None]


class GuardProcessor:
    def __init__(
        self,
        settings: ProcessorSettings,
        alerts: AlertSettings,
        registry: Callable[[], Registry],
        report: Report,
        on_change: Callable[[str], None],
        deliver: Deliver | None = None,
        *,
        health_log: HealthLog | None = None,
        consumer: Any = None,
        connect_to: Callable[[Address], Client] = lambda address: connect(address, timeout_s=QUERY_TIMEOUT_S),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Configure the guard. It joins its group in `run`.

        Args:
            on_change: receives a sentence for each change of a rule, an incident or a state.
            deliver: sends a notification; None sends none, because Grafana does.
            health_log: the topic; None opens it.
        """
        self._settings, self._alerts, self._registry, self._report = settings, alerts, registry, report
        self._on_change, self._deliver, self._connect, self._clock = on_change, deliver, connect_to, clock
        self._topic = settings.topics.model_health
        short = replace(settings, session_timeout_s=min(settings.session_timeout_s, SESSION_TIMEOUT_S))
        self._consumer = consumer or make_consumer(short, GROUP)
        self._health_log = health_log or HealthLog(settings)
        self._history = HealthHistory()
        self._tasks = (
            cause_history(settings.warehouse, connect_to, clock),
            PromptRollbacks(settings, on_change, connect_to, clock).task(),
        )
        self._client: Client | None = None
        self._owns_partition = False
        self._leads = False
        self._contracts: Mapping[str, Contract] = {}
        self._rules: Sequence[Rule] = ()
        self._fallback_rules: dict[str, list[Rule]] = {}
        self._live: LiveAlerts | None = None
        self._guards: dict[str, ModelGuard] = {}
        self._sent: dict[str, ModelHealth] = {}
        self._problem = ""

    def run(self, stop: threading.Event) -> None:
        """Evaluate while this instance leads, until `stop` is set."""
        try:
            self._health_log.require_one_partition()
            self._consumer.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke)
            while not stop.is_set():
                self._report.heartbeat.beat()
                message = self._consumer.poll(STEP_S)
                error = None if message is None else message.error()
                if error is not None and (error.fatal() or error.code() in FATAL_ERRORS):
                    raise explain(KafkaException(error), f"read {self._topic}")
                if self._owns_partition:
                    if not self._leads:
                        self._lead()
                    self.step()
        finally:
            self._consumer.close()
            self._health_log.close()
            for task in self._tasks:
                task.close()
            if self._client is not None:
                self._client.close()

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        # The records are read once, by `HealthLog.lead`; the consumer only holds the partition.
        assigned = [TopicPartition(each.topic, each.partition, OFFSET_END) for each in partitions]
        consumer.assign(assigned)
        if assigned:
            consumer.pause(assigned)
        self._owns_partition, self._leads = bool(assigned), False

    def _on_revoke(self, _consumer: Any, _partitions: list[TopicPartition]) -> None:
        self._owns_partition = self._leads = False
        self._live = None

    def _lead(self) -> None:
        # A drill evaluates its own models.
        records = {model: each for model, each in self._health_log.lead().items() if not is_drill(model)}
        self._sent = dict(records)
        self._guards = {}
        self._live = None
        self._leads = True
        self._on_change(f"This guard leads; it continues with {len(records)} models.")

    def step(self) -> None:
        """Evaluate the rules that are due, and publish what changed or is due."""
        now = int(self._clock())
        live = self._follow_contracts(now)
        client = self._open()
        if client is not None:
            for notification, messages in live.step(client, now):
                if self._deliver is not None:
                    self._deliver(notification, messages)
        active: dict[str, list[LiveInstance]] = defaultdict(list)
        for instance in live.instances():
            active[instance.rule.model].append(instance)
        missing_processors = active.pop("", [])
        records = [
            self._evaluate(contract, now, active[model], missing_processors, live.errors())
            for model, contract in self._contracts.items()
        ]
        due = [record for record in records if is_due(record, self._sent.get(record.model))]
        if due and not self._health_log.publish(due):
            self._leads = False
            return
        for record in due:
            before = self._sent.get(record.model)
            if before is None and record.state == "healthy":
                # There may be no verdict yet.
                self._on_change(f"{record.model}: no rule of `fallback.rules` fires, so serving uses the model.")
            elif before is None or before.state != record.state:
                reasons = ", ".join(f"{each.rule} {each.field}".strip() for each in record.reasons)
                self._on_change(f"{record.model} is {record.state}{f': {reasons}' if reasons else ''}.")
            self._sent[record.model] = record
        if client is not None:
            self._history.write(client, [self._sent[record.model] for record in records])
            for task in self._tasks:
                task.follow(self._contracts)

    def _evaluate(
        self,
        contract: Contract,
        now: int,
        instances: Sequence[LiveInstance],
        missing_processors: Sequence[LiveInstance],
        errors: Mapping[str, str],
    ) -> ModelHealth:
        model, fallback = contract.model, contract.fallback
        guard = self._guards.get(model)
        if guard is None:
            guard = ModelGuard(model, fallback, self._settings.instance, self._sent.get(model))
            self._guards[model] = guard
        guard.fallback = fallback
        rules = self._fallback_rules.get(model, ())
        active = degrading_instances(contract, instances)
        lag = [each for each in instances if each.rule.name == LAG_RULE]
        blind = self._problem or blind_reason(rules, errors, [*missing_processors, *lag])
        return guard.evaluate(now, active, blind)

    def _follow_contracts(self, now: int) -> LiveAlerts:
        contracts = {model: each for model, each in self._registry().contracts.items() if not is_drill(model)}
        if self._live is None or contracts != self._contracts:
            try:
                rules = self._evaluated(contracts, rules_for(contracts.values(), self._alerts))
            except AlertsError as error:
                self._on_change(f"{error} The rules stay unchanged.")
                rules = list(self._rules)
            if self._live is None or definitions(rules) != definitions(self._rules):
                self._live = LiveAlerts(rules, self._alerts, self._on_change)
                for record in self._sent.values():
                    for each in record.progress:
                        self._live.restore(each.uid, each.key, each.state, min(each.since_s, now), now)
            self._contracts, self._rules = contracts, rules
            self._fallback_rules = defaultdict(list)
            for rule in rules:
                if _degrades(contracts, rule):
                    self._fallback_rules[rule.model].append(rule)
        return self._live

    def _evaluated(self, contracts: Mapping[str, Contract], rules: Sequence[Rule]) -> list[Rule]:
        """Select the rules to evaluate: all if notifications are sent, else those that decide a state."""
        if self._deliver is not None:
            return list(rules)
        return [rule for rule in rules if rule.name in PIPELINE_RULES or _degrades(contracts, rule)]

    def _open(self) -> Client | None:
        if self._client is None:
            try:
                self._client = self._connect(self._settings.warehouse)
            except (WarehouseBusy, WarehouseError) as error:
                self._problem = f"ClickHouse does not answer: {error}"
                return None
        self._problem = ""
        return self._client


def is_due(record: ModelHealth, before: ModelHealth | None) -> bool:
    """Return whether a record must be published: it has news, or the last published one is old."""
    # The clock of the leader before may have been ahead.
    return before is None or is_news(record, before) or abs(record.at_ms - before.at_ms) >= REPORT_S * 1000


def _degrades(contracts: Mapping[str, Contract], rule: Rule) -> bool:
    contract = contracts.get(rule.model)
    return contract is not None and rule.name in contract.fallback.rules
