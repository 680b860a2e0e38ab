"""Watches a processor from a thread of its own: says whether it is healthy, and ends it when it is stuck.

It stands apart from the processor's loop and from Faust on purpose: a loop can stand still, and Faust's consumption
can stop without an error. Looked at are the pulse of the loop, and the committed offsets as the broker knows them. The
supervisor starts an ended process again, which loads its state and goes on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog
from confluent_kafka import KafkaException

from streams.broker.consumer_lag import LagMonitor, Stall
from streams.runtime.lifecycle import EXIT_STUCK
from streams.runtime.metrics_report import Report
from warehouse import metrics

LOOK_S = 5.0

Status = Literal["starting", "working", "waiting", "stopping", "stuck"]


@dataclass(frozen=True, slots=True)
class StallTimeouts:
    """How long standing still is tolerated, in seconds."""

    unhealthy_s: float = 60.0
    """Then the processor is not healthy. A commit to a busy broker may take most of a minute."""
    stuck_s: float = 300.0
    """Then it is ended."""


SCORER_STALL_TIMEOUTS = StallTimeouts(unhealthy_s=330.0, stuck_s=900.0)
"""One statement of the scorer may take five minutes, and nothing else comes round meanwhile."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a processor is, and why."""

    status: Status
    reason: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it does its work, or waits for what no restart would mend."""
        return self.status in ("working", "waiting")


class Watchdog:
    """Watches one processor."""

    def __init__(
        self,
        report: Report,
        offsets: LagMonitor | None = None,
        *,
        patience: StallTimeouts | None = None,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        """Prepare to watch.

        Args:
            report: of the processor, with its pulse.
            offsets: of its group; None for a processor that reads no topic.
            patience: how long standing still is tolerated.
            end: ends the process.
        """
        self._report, self._pulse, self._offsets = report, report.heartbeat, offsets
        self._patience = patience or StallTimeouts()
        self._end = end
        self._stood: Stall | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        report.set_function(metrics.HEALTHY, lambda: float(self.health().healthy))

    def watch(self, offsets: LagMonitor) -> None:
        """Look at a group's offsets from now on."""
        self._offsets = offsets

    def start(self) -> None:
        """Watch on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; a look that the broker does not answer is not waited for."""
        self._stop.set()
        self._thread.join(timeout=1)
        if self._offsets is not None and not self._thread.is_alive():
            self._offsets.close()

    def health(self) -> Health:
        """Say how the processor is now; never waits for anything."""
        if self._pulse.stopping:
            return Health("stopping", "It was asked to end.")
        if not self._pulse.started:
            return Health("starting", "Its loop has not come round yet: it waits for ClickHouse or Kafka.")
        still = self._standing(self._patience.unhealthy_s)
        if still:
            return Health("stuck", still)
        waiting = self._pulse.blockage
        if waiting is not None:
            return Health(
                "waiting", f"{waiting.reason} It has waited {self._pulse.blocked_s():.0f} s; nothing is lost."
            )
        return Health("working")

    def look(self) -> None:
        """Look once at the committed offsets, and end the process where it is stuck."""
        if self._offsets is not None:
            try:
                self._stood = self._offsets.look()
            except KafkaException:
                # Nobody knows whether the offsets stand still; whether the loop does is known all the same.
                self._stood = None
        stuck = self._standing(self._patience.stuck_s)
        if stuck and not self._pulse.stopping:
            structlog.get_logger().error(
                "stuck", processor=self._report.kind, instance=self._report.instance, reason=stuck
            )
            self._end(EXIT_STUCK)

    def _standing(self, longest_s: float) -> str:
        """Say what has stood still for longer; empty where nothing has."""
        age_s = self._pulse.age_s()
        if age_s > longest_s:
            return f"Its loop has not come round for {age_s:.0f} s ({longest_s:.0f} s are expected at most)."
        stood = self._stood
        if stood is not None and stood.seconds > longest_s and self._pulse.blockage is None:
            topic, partition = stood.place
            return (
                f"The committed offset of {topic} {partition} has stood still for {stood.seconds:.0f} s with messages "
                f"behind it ({longest_s:.0f} s are expected at most)."
            )
        return ""

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.look()
