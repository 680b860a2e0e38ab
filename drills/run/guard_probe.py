"""Publishes states on a scratch topic `model-health`, and observes them through a client `Guard`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from barograph.guard.guard import FALLBACK, PRIMARY, Guard
from barograph.guard.health import ModelHealth

from barograph_server.alerts.guard.health_log import HealthLog
from barograph_server.drills.errors import DrillError
from barograph_server.drills.report import GuardObservation
from barograph_server.drills.run.serving_load import ServingLoad
from barograph_server.settings import Settings

WAIT_S = 60.0
"""Longest time until the client reports a record."""
POLL_S = 0.002


def observe_guard(settings: Settings, model: str, records: Sequence[ModelHealth]) -> list[GuardObservation]:
    """Publish the records one after the other, and return what a serving process under load sees.

    Args:
        records: the first record of each state.
    """
    log = HealthLog(settings.processor(instance="drill"))
    log.lead()
    observed = []
    clock_s = records[0].at_ms / 1000 if records else 0.0
    try:
        with (
            Guard(
                model,
                bootstrap_servers=settings.bootstrap_servers,
                topic_prefix=settings.topic_prefix,
                stale_s=10 * WAIT_S,
                kafka=settings.kafka,
                # The age of a record is that of event time.
                wall_clock=lambda: clock_s,
            ) as guard,
            ServingLoad(guard.use(lambda: PRIMARY, lambda: FALLBACK)) as load,
        ):
            for record in records:
                clock_s = record.at_ms / 1000
                if not log.publish([record]):
                    raise DrillError(f"Kafka did not accept a record of {settings.topics.model_health}.")
                published_s = time.monotonic()
                _wait(guard, record)
                answered_by, since_s = load.answers_of(FALLBACK if record.state == "degraded" else PRIMARY, WAIT_S)
                reaction_s = max(0.0, since_s - published_s)
                observed.append(GuardObservation(record.at_ms // 1000, guard.state, answered_by, reaction_s))
    finally:
        log.close()
    return observed


def _wait(guard: Guard, record: ModelHealth) -> None:
    end_s = time.monotonic() + WAIT_S
    while guard.state != record.state:
        if time.monotonic() >= end_s:
            raise DrillError(
                f"A client did not follow the state of {record.model} within {WAIT_S:.0f} s: it reports {guard.state} "
                f"and not {record.state}."
            )
        time.sleep(POLL_S)
