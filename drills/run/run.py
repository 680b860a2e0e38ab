"""Runs drills: publishes the events with their faults, waits for the processors, and compares what happened."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from barograph.contract import Contract

from barograph_server.alerts.simulator import Simulation, simulate
from barograph_server.batch.backfill.account import Accountant, SentEvents
from barograph_server.batch.backfill.backfill import publisher_of
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import epoch_ms
from barograph_server.drills.guard_states import guard_states
from barograph_server.drills.report import DrillObservations, DrillReport, report
from barograph_server.drills.run.guard_probe import observe_guard
from barograph_server.drills.run.plan import DrillModel, DrillPlan, control_model
from barograph_server.drills.run.scratch import ScratchNamespace, scratch_settings
from barograph_server.drills.webhook import WebhookReceiver, deliver
from barograph_server.settings import Settings
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.signals.recorded_history import read_recorded_history

POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class DrillInput:
    """The model whose events are used."""

    contract: Contract
    baseline: Baseline
    events: EventTables


@dataclass(frozen=True, slots=True)
class DrillOptions:
    webhook: str | None = None
    """The webhook that gets the notifications; None: a receiver of the drill on loopback."""
    timeout_s: float = 600.0
    """Longest wait for the processors."""


def run_drills(
    settings: Settings,
    run_id: str,
    source: DrillInput,
    plans: Sequence[DrillPlan],
    options: DrillOptions,
    on_step: Callable[[str], None] = lambda step: None,
) -> list[DrillReport]:
    """Run drills of one model side by side in the scratch namespace `run_id`, with one control without a fault."""
    control = control_model(source.contract, source.baseline, run_id, settings.alerts)
    models = [control, *(plan.model for plan in plans)]
    tables = [source.events, *(plan.events for plan in plans)]
    scratch = scratch_settings(settings, run_id, float(epoch_ms(source.events.predictions).min()) / 1000)
    with ExitStack() as stack:
        namespace = stack.enter_context(ScratchNamespace(scratch))
        on_step("creating topics and a database")
        namespace.create([each.contract for each in models], [each.baseline for each in models])
        client = stack.enter_context(connect(scratch.warehouse))
        accounts = [
            (Accountant(client, each.contract, scratch.topics, scratch.partials_partitions), each) for each in models
        ]
        sent = _publish(scratch, models, tables, on_step)
        deadline_s = time.monotonic() + options.timeout_s
        for (accountant, model), counts, events in zip(accounts, sent, tables, strict=True):
            on_step(f"waiting for verdicts on {model.contract.model}")
            _wait(namespace, client, accountant, model, counts, events, deadline_s)
        receiver = stack.enter_context(WebhookReceiver()) if options.webhook is None else None
        on_step("evaluating the rules")
        base = _simulate(client, scratch, control)
        base_states = guard_states(control.contract, base)
        reports = []
        for plan in plans:
            on_step(f"delivering notifications of {plan.model.contract.model}")
            simulation = _simulate(client, scratch, plan.model)
            deliveries = deliver(
                simulation, settings.alerts, options.webhook or (receiver.url if receiver else ""), receiver
            )
            states = observe_guard(scratch, plan.model.contract.model, guard_states(plan.model.contract, simulation))
            observations = DrillObservations(simulation, base, deliveries, states, base_states)
            reports.append(report(plan.injection, plan.model.contract, plan.expectation, observations))
        on_step("removing topics and the database")
    return reports


def _publish(
    scratch: Settings, models: Sequence[DrillModel], tables: Sequence[EventTables], on_step: Callable[[str], None]
) -> list[SentEvents]:
    """Publish the events of all models, and at the end the end markers."""
    sent = []
    for i, (model, events) in enumerate(zip(models, tables, strict=True)):
        on_step(f"publishing {model.contract.model}")
        with publisher_of(scratch, model.contract, model.baseline.version) as publisher:
            n_predictions, n_labels = publish(events, publisher)
            if i == len(models) - 1:
                publisher.publish_end_marker()
            publisher.flush(60.0)
            sent.append(SentEvents(n_predictions, n_labels, publisher.offset_ranges))
    return sent


def _wait(
    namespace: ScratchNamespace,
    client: Client,
    accountant: Accountant,
    model: DrillModel,
    sent: SentEvents,
    events: EventTables,
    deadline_s: float,
) -> None:
    """Wait until everything of a model is counted, sealed, recorded and scored."""
    store = WarehouseStore(client)
    last_s = int(epoch_ms(events.predictions).max()) // 1000 if events.predictions.num_rows else 0
    while True:
        namespace.check()
        account = accountant.read(sent)
        sealed_s = store.sealed_until_s(model.contract.model) or 0
        if not account.unknown and sealed_s > last_s:
            return
        if time.monotonic() >= deadline_s:
            missing = "; ".join(account.unknown) or f"panes are sealed until {sealed_s} only"
            raise DrillError(
                f"The processors of {model.contract.model} did not finish in time: {missing}. Raise --timeout, or "
                "shorten --history."
            )
        time.sleep(POLL_S)


def _simulate(client: Client, scratch: Settings, model: DrillModel) -> Simulation:
    history = read_recorded_history(client, [model.contract.model])
    if history is None:
        raise DrillError(
            f"No window of {model.contract.model} was judged: the range is shorter than the windows of the contract."
        )
    first, last = int(history.first.timestamp()), int(history.last.timestamp())
    return simulate(client, model.rules, scratch.alerts, first, last, "ended")


DAY_MS = 86_400_000


class EventSink(Protocol):
    """The part of the publisher that a drill uses."""

    def predictions(self, table: pa.Table) -> int:
        """Publish predictions."""

    def labels(self, table: pa.Table) -> int:
        """Publish labels."""


def publish(events: EventTables, sink: EventSink) -> tuple[int, int]:
    """Publish all events; return how many predictions and labels the publisher accepted."""
    n_predictions = n_labels = 0
    for predictions, labels in arrival_days(events):
        if predictions.num_rows:
            n_predictions += sink.predictions(predictions)
        if labels.num_rows:
            n_labels += sink.labels(labels)
    return n_predictions, n_labels


def arrival_days(events: EventTables) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Split events into days of arrival. An event arrives no earlier than the events before it in its table."""
    tables = (events.predictions, events.labels)
    arrivals = [np.maximum.accumulate(epoch_ms(table)) // DAY_MS for table in tables]
    numbers = np.unique(np.concatenate(arrivals))
    for day in numbers.tolist():
        bounds = [np.searchsorted(arrival, [day, day + 1]).tolist() for arrival in arrivals]
        predictions, labels = (
            table.slice(start, end - start) for table, (start, end) in zip(tables, bounds, strict=True)
        )
        yield predictions, labels
