"""Writes records to the topic `model-health`, as the only writer at any time.

The partition's owner in the consumer group is the leader. It fences the leader before, as `CompactedLog` describes.
"""

from collections.abc import Iterable

import structlog
from barograph.guard.health import ModelHealth, decode_health, encode_health
from barograph.topic_reader import check_sequence

from barograph_server.streams.broker.compacted_log import CompactedLog
from barograph_server.streams.settings import ProcessorSettings


class HealthLog:
    """The topic, as its leader writes it."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._topic = settings.topics.model_health
        self._compacted = CompactedLog(
            settings,
            "guard",
            self._topic,
            partitions_error="and each would have a guard that leads: delete the topic and run `barograph apply`, "
            "which creates it again with one.",
            fenced_error=f"Another guard leads and writes {self._topic}: this one was paused or cut off for too long. "
            "Start it again: it then waits, and leads when the other ends.",
        )
        self._log = structlog.get_logger().bind(processor="guard", instance=settings.instance)

    def require_one_partition(self) -> None:
        self._compacted.require_one_partition()

    def lead(self) -> dict[str, ModelHealth]:
        """Fence the leader before, and return the newest record of each model."""
        records: dict[str, ModelHealth] = {}
        unreadable, problem = 0, ""
        for message in self._compacted.lead():
            model = (message.key() or b"").decode(errors="replace")
            if message.value() is None:
                records.pop(model, None)
                continue
            try:
                record = decode_health(message.value())
                check_sequence(record.sequence, message)
                if record.model != model:
                    raise ValueError(f"its key is {model!r} and its model {record.model!r}")
            except ValueError as error:
                unreadable += 1
                problem = f"offset {message.offset()}: {error}"
            else:
                records[model] = record
        if unreadable:
            self._log.warning("unreadable records ignored", topic=self._topic, n=unreadable, newest=problem)
        return records

    def publish(self, records: Iterable[ModelHealth]) -> bool:
        """Write records in one transaction, and return whether they were committed.

        After false they may be committed or not, and another guard may lead: only `lead` makes this one write again.
        """
        return self._compacted.publish(
            [{"key": record.model.encode(), "value": encode_health(record)} for record in records]
        )

    def close(self) -> None:
        self._compacted.close()
