"""Batches of messages as decoders receive them."""

import numpy as np

from barograph_server.streams.events.batch import MessageBatch

NOW_MS = 1_790_000_000_000
"""When Kafka received them."""


def batch_of(*values: bytes | None, partition: int = 0, first: int = 0) -> MessageBatch:
    n = len(values)
    return MessageBatch(list(values), np.full(n, partition, np.int32), np.arange(first, first + n), np.full(n, NOW_MS))
