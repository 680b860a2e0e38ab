"""Runs drills on the wall clock, in production's own topics, processors and tables.

The events of each model are published at their own pace, moved to now. The drill evaluates the rules of its models and
follows their states itself: production's guard and Grafana leave models of drills out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from barograph.guard.guard import FALLBACK, PRIMARY, Guard
from barograph.guard.health import ModelHealth, encode_health

from barograph_server.alerts.guard.degrading import LAG_RULE, blind_reason, degrading_instances
from barograph_server.alerts.guard.health_history import HealthHistory
from barograph_server.alerts.guard.model_guard import ModelGuard
from barograph_server.alerts.guard.processor import STEP_S, is_due
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator import Notification, Replay, Simulation, Transition
from barograph_server.alerts.text import duration
from barograph_server.alerts.wall_clock import LiveAlerts
from barograph_server.alerts.webhooks import AlertMessage
from barograph_server.batch.backfill.account import Accountant, SentEvents
from barograph_server.batch.backfill.backfill import publisher_of
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import epoch_ms
from barograph_server.drills.guard_states import INSTANCE
from barograph_server.drills.live_times import label_arrivals, prediction_arrivals
from barograph_server.drills.report import DrillObservations, DrillReport, GuardObservation, report
from barograph_server.drills.run import live_models
from barograph_server.drills.run.live_checks import SETTLE_S, verdict_delay_s
from barograph_server.drills.run.plan import DrillModel, DrillPlan, control_model
from barograph_server.drills.run.run import DrillInput, DrillOptions
from barograph_server.drills.webhook import WebhookDelivery, WebhookReceiver
from barograph_server.settings import Settings
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import drill_rows

CHECK_S = 10.0
"""How often the drill checks that nobody has removed its models."""
QUERY_TIMEOUT_S = 30


def run_live_drills(
    settings: Settings,
    run_id: str,
    source: DrillInput,
    plans: Sequence[DrillPlan],
    options: DrillOptions,
    on_step: Callable[[str], None] = lambda step: None,
) -> list[DrillReport]:
    """Run drills of one model side by side, with one control: the same events without a fault.

    Args:
        run_id: names the control.
        source: the model; its events have the times at which they are published.
    """
    problems: list[str] = []
    try:
        with ExitStack() as stack:
            reports = _run(stack, settings, run_id, source, plans, options, on_step, problems)
    except KeyboardInterrupt:
        Terminal(stderr=True).line(" ".join(problems) or "The models of the drill are removed.")
        raise
    return [replace(each, notes=(*each.notes, *problems)) for each in reports]


def _run(
    stack: ExitStack,
    settings: Settings,
    run_id: str,
    source: DrillInput,
    plans: Sequence[DrillPlan],
    options: DrillOptions,
    on_step: Callable[[str], None],
    problems: list[str],
) -> list[DrillReport]:
    """Run the drills; `problems` gets what could not be removed at the end."""
    control = control_model(source.contract, source.baseline, run_id, settings.alerts)
    models = [control, *(plan.model for plan in plans)]
    tables = [source.events, *(plan.events for plan in plans)]
    receiver = stack.enter_context(WebhookReceiver()) if options.webhook is None else None
    webhook = options.webhook or (receiver.url if receiver else "")
    deliveries = [WebhookDelivery(settings.alerts, webhook, receiver) for _ in plans]
    client = stack.enter_context(connect(settings.warehouse, timeout_s=QUERY_TIMEOUT_S))
    streams: list[LiveStream] = []
    stack.callback(_clean_up, settings, models, streams, on_step, problems)
    live_models.register(client, models)
    for model, events in zip(models, tables, strict=True):
        streams.append(LiveStream(settings, client, model, events, source.events))
        stack.callback(streams[-1].close)
    followers = [ModelFollower(model, settings.alerts) for model in models]
    guards = [stack.enter_context(serving_process(settings, plan.model.contract.model)) for plan in plans]
    _follow(settings, client, streams, followers, deliveries, on_step)
    base, *observed = (each.simulation(verdict_delay_s(source.contract, settings)) for each in followers)
    return [
        report(
            plan.injection,
            plan.model.contract,
            plan.expectation,
            DrillObservations(simulation, base, delivery.result, observed_states, followers[0].states),
        )
        for plan, simulation, delivery, observed_states in zip(plans, observed, deliveries, guards, strict=True)
    ]


def _follow(
    settings: Settings,
    client: Client,
    streams: Sequence[LiveStream],
    followers: Sequence[ModelFollower],
    deliveries: Sequence[WebhookDelivery],
    on_step: Callable[[str], None],
) -> None:
    """Publish the events as they become due, evaluate the rules and publish the states, until the last event."""
    history = HealthHistory()
    checked_s = time.monotonic()
    names = {each.model for each in followers}
    while True:
        now_ms = int(time.time() * 1000)
        for stream in streams:
            stream.publish_until(now_ms)
        left_s = streams[0].end_ms / 1000 - now_ms / 1000
        on_step(f"publishing events for {duration(max(0, round(left_s)))}")
        for i, follower in enumerate(followers):
            for notification, messages in follower.step(client, now_ms // 1000):
                if i:
                    deliveries[i - 1].send(notification, messages)
        due = [follower for follower in followers[1:] if follower.is_due()]
        # While Kafka is down, serving processes see `unknown` after a while; the next step tries again.
        with suppress(DrillError):
            live_models.publish_states(
                settings, {each.model: encode_health(each.last) for each in due if each.last is not None}
            )
            for follower in due:
                follower.mark_published()
        history.write(client, [each.last for each in followers if each.last is not None])
        if left_s < 0:
            return
        if time.monotonic() - checked_s >= CHECK_S:
            checked_s = time.monotonic()
            # While ClickHouse is down, the rules cannot be evaluated, which the drill reports.
            with suppress(WarehouseBusy):
                if not names <= drill_rows.registered(client):
                    raise DrillError("The models of this drill were removed by `barograph drill clean --running`.")
        time.sleep(STEP_S)


def _clean_up(
    settings: Settings,
    models: Sequence[DrillModel],
    streams: Sequence[LiveStream],
    on_step: Callable[[str], None],
    problems: list[str],
) -> None:
    """Wait until the events are counted, and remove the models."""
    names = [each.contract.model for each in models]
    try:
        on_step("waiting for the processors")
        end_s = time.monotonic() + SETTLE_S
        for stream in streams:
            stream.settle(max(0.0, end_s - time.monotonic()))
        on_step("removing the models of the drill")
        with connect(settings.warehouse) as client:
            live_models.remove(settings, client, names)
    except (WarehouseBusy, WarehouseError, DrillError) as error:
        problems.append(f"The models {', '.join(names)} are not removed: {error} Run `barograph drill clean` later.")


FLUSH_S = 60.0


class LiveStream:
    """Publishes the events of one model at the times at which they arrive."""

    def __init__(
        self, settings: Settings, client: Client, model: DrillModel, events: EventTables, recorded: EventTables
    ) -> None:
        self._accountant = Accountant(client, model.contract, settings.topics, settings.partials_partitions)
        self._events = events
        self._arrivals = prediction_arrivals(events.predictions, recorded.predictions), label_arrivals(events.labels)
        self.end_ms = int(epoch_ms(recorded.predictions).max())
        self._next = [0, 0]
        self._n_accepted = [0, 0]
        self._publisher = publisher_of(settings, model.contract, model.baseline.version)

    def publish_until(self, now_ms: int) -> None:
        """Publish the events that have arrived by now."""
        sinks = self._publisher.predictions, self._publisher.labels
        tables = self._events.predictions, self._events.labels
        for i, (sink, table, arrivals) in enumerate(zip(sinks, tables, self._arrivals, strict=True)):
            end = int(arrivals.searchsorted(now_ms, "right"))
            if end > self._next[i]:
                self._n_accepted[i] += sink(table.slice(self._next[i], end - self._next[i]))
                self._next[i] = end

    def close(self) -> None:
        self._publisher.flush(FLUSH_S)
        self._publisher.close()

    def settle(self, timeout_s: float) -> None:
        """Wait until the processors have read the events: they would dead-letter those of a model that is removed."""
        n_predictions, n_labels = self._n_accepted
        sent = SentEvents(n_predictions, n_labels, self._publisher.offset_ranges)
        account = self._accountant.wait(sent, timeout_s)
        if account.unknown:
            raise DrillError(f"{'; '.join(account.unknown)}.")


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
        self._published = self.last

    def simulation(self, verdict_delay_s: float) -> Simulation:
        """Return what the rules did, in the form of a simulation. It ends where verdicts end."""
        until = self._until_s - math.ceil(verdict_delay_s)
        replays = [Replay(rule, self._since_s, until, {}, self._transitions[rule.uid]) for rule in self._rules]
        return Simulation(self._since_s, until, tuple(replays), (), ())

    def _note(self, rule: Rule, change: Transition) -> None:
        self._transitions[rule.uid].append(change)


@contextmanager
def serving_process(settings: Settings, model: str) -> Iterator[list[GuardObservation]]:
    """Follow the state of a drill's model as a serving process does, and yield the states that it sees."""
    observed: list[GuardObservation] = []
    with Guard(
        model, bootstrap_servers=settings.bootstrap_servers, topic_prefix=settings.topic_prefix, kafka=settings.kafka
    ) as guard:
        answer = guard.use(lambda: PRIMARY, lambda: FALLBACK)
        guard.on_change(
            lambda changed: observed.append(GuardObservation(int(time.time()), changed.state, answer(), None))
        )
        yield observed
