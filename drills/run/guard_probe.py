"""Publishes states on a scratch topic `model-health`, and observes them through a client `Guard`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from barograph.guard.guard import FALLBACK, PRIMARY, Guard
from barograph.guard.health import ModelHealth

from barograph_server.alerts.guard.health_log import HealthLog
from barograph_server.drills.errors import DrillError
from barograph_server.drills.report import GuardObservation
from barograph_server.settings import Settings
from barograph_server.streams.runtime.periodic import Periodic

WAIT_S = 60.0
"""Longest time until the client reports a record."""
POLL_S = 0.002


def observe_guard(settings: Settings, model: str, records: Sequence[ModelHealth]) -> list[GuardObservation]:
    """Publish the first record of each state one after the other; return what a serving process under load sees."""
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


REQUESTS_PER_S = 1_000


class ServingLoad:
    """Answers requests in a thread while this context manager is open."""

    def __init__(self, answer: Callable[[], str]) -> None:
        """Describe the load; `answer` answers one request, and returns who answered."""
        self._answer = answer
        self._changes = threading.Condition()
        self._last, self._since_s = "", 0.0
        self._begin_s, self._requests = 0.0, 0
        self._load = Periodic("serving-load", 1 / REQUESTS_PER_S, self._answer_due)

    def answers_of(self, expected: str, timeout_s: float) -> tuple[str, float]:
        """Wait until `expected` answers, and return who answers and since when, in seconds of the monotonic clock."""
        with self._changes:
            self._changes.wait_for(lambda: self._last == expected, timeout_s)
            return self._last, self._since_s

    def _answer_due(self) -> None:
        # Requests that were delayed are answered at once, as a queue does.
        due = (time.monotonic() - self._begin_s) * REQUESTS_PER_S
        while self._requests < due:
            self._note(self._answer())
            self._requests += 1

    def _note(self, answered_by: str) -> None:
        if answered_by != self._last:
            with self._changes:
                self._last, self._since_s = answered_by, time.monotonic()
                self._changes.notify_all()

    def __enter__(self) -> ServingLoad:
        self._begin_s = time.monotonic()
        self._load.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._load.stop(None)
