"""Ends a monitor that has silently stopped: the offset it committed stands still while the log's end is ahead.

It stands apart from Faust on purpose, since it is Faust's consumption that can stop without an error. The supervisor
starts the process again, which loads its state and goes on.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.process import EXIT_STUCK
from streams.report import Report
from streams.settings import ProcessorSettings

STUCK_S = 300.0
NO_LAG = 1
"""The committed offset stays one below the log's end: the last record there is a commit marker."""


class Watchdog:
    """Watches a group's committed offsets from outside the group, and reports its lag."""

    def __init__(
        self,
        settings: ProcessorSettings,
        group: str,
        topic: str,
        partitions: int,
        report: Report,
        *,
        waiting: Callable[[], bool],
        stuck_s: float = STUCK_S,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        """Prepare to watch.

        Args:
            settings: where the broker is.
            group: the consumer group.
            topic: what it reads.
            partitions: how many partitions the topic has.
            report: takes the lag.
            waiting: whether the processor stands still for a reason of its own (the warehouse is away).
            stuck_s: how long no progress is tolerated.
            end: ends the process.
        """
        self._topic, self._partitions, self._report = topic, partitions, report
        self._waiting, self._stuck_s, self._end = waiting, stuck_s, end
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": f"{settings.topics.prefix}{group}",
                "enable.auto.commit": False,
                "log_level": 2,
                **settings.kafka,
            }
        )
        self._stop = threading.Event()
        self._moved: dict[int, tuple[int, float]] = {}
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join(timeout=10)
        self._consumer.close()

    def look(self, now_s: float) -> float:
        """Look once; return for how long the slowest lagging partition has stood still, in seconds."""
        wanted = [TopicPartition(self._topic, p) for p in range(self._partitions)]
        worst = 0.0
        for tp in self._consumer.committed(wanted, timeout=5):
            low, high = self._consumer.get_watermark_offsets(tp, timeout=5, cached=False)
            committed = tp.offset if tp.offset >= 0 else low
            lag = max(0, high - committed - NO_LAG)
            self._report.set_lag(tp.partition, lag)
            before = self._moved.get(tp.partition)
            if before is None or before[0] != committed or lag == 0:
                self._moved[tp.partition] = (committed, now_s)
            else:
                worst = max(worst, now_s - before[1])
        return worst

    def _run(self) -> None:
        while not self._stop.wait(5.0):
            try:
                stood_s = self.look(time.monotonic())
            except KafkaException:
                continue
            if stood_s > self._stuck_s and not self._waiting():
                structlog.get_logger().error("stuck", stood_s=round(stood_s), topic=self._topic)
                self._end(EXIT_STUCK)
