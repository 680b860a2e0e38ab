"""The watchdog of a processor: reports its health, and ends the process when it is stuck.

It runs on a thread of its own, independent of the processor's loop and of Faust: a loop can hang, and Faust can stop
consuming without an error. The watchdog checks the heartbeat of the loop and the group's committed offsets on the
broker. The supervisor restarts an ended process, which loads its state and continues.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog
from confluent_kafka import KafkaException

from barograph_server.streams.broker.consumer_lag import LagMonitor, Stall
from barograph_server.streams.runtime.lifecycle import EXIT_STUCK
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.runtime.periodic import Periodic
from barograph_server.warehouse.operations import metrics

CHECK_S = 5.0
"""Time between checks."""

Status = Literal["starting", "working", "waiting", "stopping", "stuck"]


@dataclass(frozen=True, slots=True)
class StallTimeouts:
    """How long a stall of the loop or of the committed offsets is tolerated."""

    unhealthy_s: float = 60.0
    """Seconds after which the processor is unhealthy. A commit to a busy broker may take most of a minute."""
    stuck_s: float = 300.0
    """Seconds after which the watchdog ends the process."""
    uncommitted_s: float = 3600.0
    """Seconds without a commit after which the watchdog ends even a process that does work. What it has written is
    durable, so that the next process has less to do."""


SCORER_STALL_TIMEOUTS = StallTimeouts(unhealthy_s=330.0, stuck_s=900.0)
"""One query of the scorer may take five minutes, and its loop does not beat during it."""


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a processor, and its cause."""

    status: Status
    reason: str = ""

    @property
    def healthy(self) -> bool:
        """Whether the processor works, or waits for a server, which a restart would not change."""
        return self.status in ("working", "waiting")


class Watchdog:
    def __init__(
        self,
        report: Report,
        offsets: LagMonitor | None = None,
        *,
        timeouts: StallTimeouts | None = None,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        """Create the thread; nothing is checked before `start`.

        Args:
            offsets: measures the lag of its group; None for a processor that reads no topic.
        """
        self._report, self._heartbeat, self._offsets = report, report.heartbeat, offsets
        self._timeouts = timeouts or StallTimeouts()
        self._end = end
        self._stall: Stall | None = None
        self._checks = Periodic("watchdog", CHECK_S, self.check)
        report.set_function(metrics.HEALTHY, lambda: float(self.health().healthy))

    def watch(self, offsets: LagMonitor) -> None:
        """Check a group's offsets from now on."""
        self._offsets = offsets

    def start(self) -> None:
        self._checks.start()

    def stop(self) -> None:
        """Stop checking, without waiting for a check that the broker does not answer."""
        self._checks.stop(1.0)
        if self._offsets is not None and not self._checks.is_alive:
            self._offsets.close()

    def health(self) -> Health:
        """Return the current health, without any request."""
        if self._heartbeat.stopping:
            return Health("stopping", "A stop was requested.")
        if not self._heartbeat.started:
            return Health("starting", "Its loop has not started yet: it waits for ClickHouse or Kafka.")
        stall = self._find_stall(self._timeouts.unhealthy_s)
        if stall:
            return Health("stuck", stall)
        blockage = self._heartbeat.blockage
        if blockage is not None:
            waited_s = self._heartbeat.blocked_s()
            return Health("waiting", f"{blockage.reason} It has waited {waited_s:.0f} s; nothing is lost.")
        return Health("working")

    def check(self) -> None:
        """Check once, and end the process if it is stuck."""
        if self._offsets is not None:
            try:
                self._stall = self._offsets.check()
            except KafkaException:
                # Whether the offsets are stalled is unknown; the loop is checked all the same.
                self._stall = None
        stall = self._find_stall(self._timeouts.stuck_s)
        if stall and not self._heartbeat.stopping:
            structlog.get_logger().error(
                "stuck", processor=self._report.kind, instance=self._report.instance, reason=stall
            )
            self._end(EXIT_STUCK)

    def _find_stall(self, longest_s: float) -> str:
        """Describe a stall that lasts longer; empty if there is none."""
        age_s = self._heartbeat.age_s()
        if age_s > longest_s:
            return f"Its loop has not completed an iteration for {age_s:.0f} s (expected: at most {longest_s:.0f} s)."
        stall = self._stall
        if stall is not None and stall.seconds > longest_s and self._heartbeat.blockage is None:
            topic, partition = stall.partition
            idle_s = self._heartbeat.idle_s()
            if idle_s > longest_s or stall.seconds > self._timeouts.uncommitted_s:
                return (
                    f"The committed offset of {topic} {partition} has not advanced for {stall.seconds:.0f} s although "
                    f"messages are available (expected: at most {longest_s:.0f} s), and the last unit of work was done "
                    f"{idle_s:.0f} s ago."
                )
        return ""
