"""Fetches messages by the optional library `barograph_native`, without an object for each.

confluent-kafka keeps the client: its group, callbacks, offsets and transactions. The library only reads the messages
and errors of the assigned partitions, from the client that librdkafka gives to it as to a plugin.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import files
from typing import NamedTuple

import numpy as np
from confluent_kafka import KafkaError

from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.native_reader import VERSION

if VERSION is not None:
    import barograph_native


class PartitionError(NamedTuple):
    """An error that a consumer returned for a partition."""

    error: KafkaError
    topic: str
    partition: int
    offset: int


@cache
def plugin_path() -> str | None:
    """Return the library's path as a plugin of librdkafka; None if one of the two is missing."""
    if VERSION is None:
        return None
    paths = [str(file.locate()) for file in files("confluent-kafka") or () if file.name.startswith("librdkafka")]
    return next(filter(None, map(barograph_native.use_librdkafka, paths)), None)


class NativeFetcher:
    """Fetches from the consumer that this thread made last, which was made with the plugin."""

    def __init__(self) -> None:
        self._fetcher = barograph_native.Fetcher()

    def route(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Fetch these partitions, and no others, from the next assignment on."""
        self._fetcher.route(list(partitions))

    def fetch(
        self, messages: int, timeout_s: float
    ) -> tuple[list[tuple[str, MessageBatch]], list[PartitionError], bool]:
        """Return messages by topic, at most as many as wanted, errors, and whether more are likely to wait."""
        fetched = self._fetcher.fetch(messages, int(timeout_s * 1000))
        errors = [
            PartitionError(KafkaError(code, reason), topic, partition, offset)
            for topic, partition, offset, code, reason in fetched.errors
        ]
        return list(_batches(fetched)), errors, fetched.is_full

    def close(self) -> None:
        """Release the consumer, which may be closed then."""
        self._fetcher.close()


def _batches(fetched: "barograph_native.Fetched") -> Iterator[tuple[str, MessageBatch]]:
    topic, partition, offset, received_ms = fetched.positions()
    columns = np.frombuffer(partition, np.int32), np.frombuffer(offset, np.int64), np.frombuffer(received_ms, np.int64)
    batch = MessageBatch(fetched, *columns, dict(fetched.headers_of()))
    if len(fetched.topics) == 1:
        yield fetched.topics[0], batch
        return
    for i, name in enumerate(fetched.topics):
        yield name, batch.select(np.flatnonzero(np.frombuffer(topic, np.int32) == i))
