"""A group's committed offsets, seen from outside the group: how far behind they are, and how long they stand still."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, TopicPartition

from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from warehouse import metrics

Place = tuple[str, int]
"""A topic and a partition."""

PEEK_AFTER_S = 10.0
"""An offset that has stood still for so long is looked behind: nobody commits past markers and aborted messages."""
PEEK_S = 5.0
"""How long the broker may take to show what lies there."""


@dataclass(frozen=True, slots=True)
class Source:
    """A topic that a processor reads."""

    name: str
    """As the broker knows it."""
    label: str
    """As metrics call it, without a prefix."""
    partitions: int = 0
    """How many it has, for whoever does not know always which are its own."""
    no_lag: int = 0
    """So far behind its end a committed offset may stay for good: 1 where transactions end with a marker."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The partition that has stood still longest while messages lay behind its committed offset."""

    place: Place
    seconds: float


class LagMonitor:
    """Looks at the committed offsets of the partitions that a processor ought to move."""

    def __init__(
        self,
        settings: ProcessorSettings,
        group: str,
        sources: Collection[Source],
        report: Report,
        *,
        assigned_partitions: Callable[[], Collection[Place] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to look; nothing is asked yet.

        Args:
            settings: where the broker is.
            group: the consumer group.
            sources: what it reads.
            report: takes lag and age.
            assigned_partitions: the partitions that are this processor's to move now; None while that is not settled, and then
                every partition of the topics counts.
            clock: seconds that never go back.
        """
        self._sources = {source.name: source for source in sources}
        self._report, self._mine, self._clock = report, assigned_partitions, clock
        self._moved: dict[Place, tuple[int, float]] = {}
        self._behind: dict[Place, int] = {}
        self._peeked: dict[Place, tuple[int, int, bool]] = {}
        """The committed offset and the end at the last peek, and whether a message lay between them."""
        self._consumer = Consumer(
            {
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
        )

    def look(self) -> Stall | None:
        """Ask the broker once; return the partition that has stood still longest, None where none does.

        Raises:
            KafkaException: the broker does not tell.
        """
        assigned_partitions = self._mine()
        places = self._all() if assigned_partitions is None else list(assigned_partitions)
        behind: dict[Place, int] = {}
        wanted = [TopicPartition(*place) for place in places]
        for tp in self._consumer.committed(wanted, timeout=5) if wanted else []:
            low, high = self._consumer.get_watermark_offsets(tp, timeout=5, cached=False)
            committed = tp.offset if tp.offset >= 0 else low
            place = (tp.topic, tp.partition)
            lag = max(0, high - committed - self._sources[tp.topic].no_lag)
            before = self._moved.get(place)
            if lag and before is not None and before[0] == committed:
                stood_s = self._clock() - before[1]
                lag = lag if self._holds_messages(place, committed, high, stood_s) else 0
            behind[place] = lag
            if before is None or before[0] != committed or lag == 0:
                self._moved[place] = (committed, self._clock())
        self._behind = behind
        # What was taken away counts anew when it comes back.
        self._moved = {place: moved for place, moved in self._moved.items() if place in behind}
        ages = self._ages()
        self._report.replace(metrics.LAG, self._labelled(behind))
        self._report.replace(metrics.COMMITTED_AGE, self._labelled(ages))
        if not any(ages.values()):
            return None
        worst = max(ages, key=lambda place: ages[place])
        return Stall(worst, ages[worst])

    def _holds_messages(self, place: Place, committed: int, high: int, stood_s: float) -> bool:
        """Whether a message lies between a committed offset and the end: it may be markers of transactions alone."""
        last = self._peeked.get(place)
        if last is None or last[:2] != (committed, high):
            if stood_s <= PEEK_AFTER_S:
                return True
            last = self._peeked[place] = committed, high, self._peek(place, committed)
        return last[2]

    def _peek(self, place: Place, committed: int) -> bool:
        self._consumer.assign([TopicPartition(*place, committed)])
        try:
            until_s = time.monotonic() + PEEK_S
            while (left_s := until_s - time.monotonic()) > 0:
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
        # Nobody showed what lies there.
        return True

    def close(self) -> None:
        """End the connection."""
        self._consumer.close()

    def _ages(self) -> dict[Place, float]:
        now_s = self._clock()
        return {place: max(0.0, now_s - self._moved[place][1]) if lag else 0.0 for place, lag in self._behind.items()}

    def _all(self) -> list[Place]:
        return [(source.name, p) for source in self._sources.values() for p in range(source.partitions)]

    def _labelled(self, values: Mapping[Place, float]) -> dict[tuple[str | int, ...], float]:
        return {(self._sources[topic].label, p): value for (topic, p), value in values.items()}
