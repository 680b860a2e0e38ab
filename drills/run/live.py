"""Runs drills on the wall clock, in production's own topics, processors and tables.

The events of each model are published at their own pace, moved to now. The drill evaluates the rules of its models and
follows their states itself: production's guard and Grafana leave models of drills out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from barograph.guard.health import encode_health

from barograph_server.alerts.guard.health_history import HealthHistory
from barograph_server.alerts.guard.processor import STEP_S
from barograph_server.alerts.text import duration
from barograph_server.drills.errors import DrillError
from barograph_server.drills.report import DrillObservations, DrillReport, report
from barograph_server.drills.run import live_models
from barograph_server.drills.run.live_checks import SETTLE_S, verdict_delay_s
from barograph_server.drills.run.live_stream import LiveStream
from barograph_server.drills.run.model_follower import ModelFollower
from barograph_server.drills.run.plan import DrillModel, DrillPlan, control_model
from barograph_server.drills.run.run import DrillInput, DrillOptions
from barograph_server.drills.run.serving_process import ServingProcess
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
        on_step: called with the name of each step.
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
    guards = [stack.enter_context(ServingProcess(settings, plan.model.contract.model)) for plan in plans]
    _follow(settings, client, streams, followers, deliveries, on_step)
    base, *observed = (each.simulation(verdict_delay_s(source.contract, settings)) for each in followers)
    return [
        report(
            plan.injection,
            plan.model.contract,
            plan.expectation,
            DrillObservations(simulation, base, delivery.result, guard.observed, followers[0].states),
        )
        for plan, simulation, delivery, guard in zip(plans, observed, deliveries, guards, strict=True)
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
