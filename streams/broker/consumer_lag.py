"""Lag of a group's committed offsets, measured from outside the group, and for how long they have been stalled."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from barograph_server.streams.broker.client import PartitionId
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.operations import metrics

PEEK_AFTER_S = 10.0
"""How long an offset must be stalled before the monitor reads the messages behind it: transaction markers and aborted
messages are never committed."""
PEEK_S = 5.0
"""How long that read may take."""


@dataclass(frozen=True, slots=True)
class SourceTopic:
    name: str
    """Its name on the broker."""
    label: str
    """Its label in metrics, without a prefix."""
    partitions: int = 0
    """Number of partitions, for processors that do not always know which are assigned to them."""
    trailing_markers: int = 0
    """Offsets by which the committed offset may permanently lag the end: 1 where transactions end with a marker."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The partition whose committed offset has been stalled longest while messages were available."""

    partition: PartitionId
    seconds: float


class LagMonitor:
    """Measures the lag of the partitions that a processor must move."""

    def __init__(
        self,
        settings: ProcessorSettings,
        group: str,
        sources: Collection[SourceTopic],
        report: Report,
        *,
        assigned_partitions: Callable[[], Collection[PartitionId] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a consumer; nothing is queried yet.

        Args:
            group: the consumer group, without the prefix.
            assigned_partitions: returns the partitions that this processor must move now; None while the group
                rebalances, when every partition of the topics counts.
        """
        self._sources = {source.name: source for source in sources}
        self._report, self._assigned_partitions, self._clock = report, assigned_partitions, clock
        self._moved: dict[PartitionId, tuple[int, float]] = {}
        """Partition → its committed offset, and when that last moved or had no lag."""
        self._peeks: dict[PartitionId, tuple[int, int, bool]] = {}
        """Partition → the committed offset and the end at the last peek, and whether a message lay between them."""
        config: dict[str, Any] = {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": f"{settings.topics.prefix}{group}",
            "client.id": f"barograph-watchdog-{settings.instance}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 1024,
            "log_level": 2,
            **settings.kafka,
        }
        self._consumer = Consumer(config)

    def check(self) -> Stall | None:
        """Query the broker once; return the partition that has been stalled longest, None if none is."""
        assigned = self._assigned_partitions()
        partitions = self._all_partitions() if assigned is None else list(assigned)
        lags: dict[PartitionId, int] = {}
        query = [TopicPartition(*partition) for partition in partitions]
        for tp in self._consumer.committed(query, timeout=5) if query else []:
            low, high = self._consumer.get_watermark_offsets(tp, timeout=5, cached=False)
            committed = tp.offset if tp.offset >= 0 else low
            partition = (tp.topic, tp.partition)
            lag = max(0, high - committed - self._sources[tp.topic].trailing_markers)
            moved = self._moved.get(partition)
            if lag and moved is not None and moved[0] == committed:
                stalled_s = self._clock() - moved[1]
                lag = lag if self._has_messages(partition, committed, high, stalled_s) else 0
            lags[partition] = lag
            if moved is None or moved[0] != committed or lag == 0:
                self._moved[partition] = (committed, self._clock())
        # The age of a partition that is revoked and assigned again starts over.
        self._moved = {partition: moved for partition, moved in self._moved.items() if partition in lags}
        now_s = self._clock()
        ages = {
            partition: max(0.0, now_s - self._moved[partition][1]) if lag else 0.0 for partition, lag in lags.items()
        }
        self._report.replace(metrics.LAG, self._with_labels(lags))
        self._report.replace(metrics.COMMITTED_AGE, self._with_labels(ages))
        if not any(ages.values()):
            return None
        oldest = max(ages, key=lambda partition: ages[partition])
        return Stall(oldest, ages[oldest])

    def _has_messages(self, partition: PartitionId, committed: int, high: int, stalled_s: float) -> bool:
        """Return whether messages, and not only transaction markers, lie between a committed offset and the end."""
        peek = self._peeks.get(partition)
        if peek is None or peek[:2] != (committed, high):
            if stalled_s <= PEEK_AFTER_S:
                return True
            peek = self._peeks[partition] = committed, high, self._peek(partition, committed)
        return peek[2]

    def _peek(self, partition: PartitionId, committed: int) -> bool:
        self._consumer.assign([TopicPartition(*partition, committed)])
        try:
            deadline_s = self._clock() + PEEK_S
            while (left_s := deadline_s - self._clock()) > 0:
                message = self._consumer.poll(left_s)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    return True
                if error.code() == KafkaError._PARTITION_EOF:
                    return False
        finally:
            self._consumer.unassign()
        # Without an answer, the lag counts.
        return True

    def close(self) -> None:
        self._consumer.close()

    def _all_partitions(self) -> list[PartitionId]:
        return [(source.name, p) for source in self._sources.values() for p in range(source.partitions)]

    def _with_labels(self, values: Mapping[PartitionId, float]) -> dict[tuple[str | int, ...], float]:
        return {(self._sources[topic].label, p): value for (topic, p), value in values.items()}
