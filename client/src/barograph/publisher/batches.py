"""Rows of events as Arrow messages of about a thousand, cut again where they are too large."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pyarrow as pa

from barograph.events import (
    ARROW_CONTENT_TYPE,
    BATCH_BYTES,
    BATCH_ROWS,
    CONTENT_TYPE_HEADER,
    MAX_EVENT_BYTES,
    Label,
    encode_json,
    encode_labels,
    encode_predictions,
    label_key,
)
from barograph.publisher.outbox import Outbox
from barograph.publisher.tables import by_partition, constant
from barograph.values import epoch_ms

_HEADERS = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]


def send_predictions(outbox: Outbox, topic: str, rows: pa.RecordBatch) -> int:
    """Queue predictions, each with its producer and number; return how many were accepted."""
    n = rows.num_rows
    seqs = pa.array(islice(outbox.seq, n), pa.int64(), size=n)
    columns = [*rows.columns, constant(outbox.producer, n), seqs]
    numbered = pa.RecordBatch.from_arrays(columns, names=[*rows.schema.names, "producer", "seq"])
    return _send(outbox, topic, numbered, encode_predictions, partition=-1)


def send_labels(outbox: Outbox, topic: str, model: str, rows: pa.RecordBatch) -> int:
    """Queue labels, all of an id for one partition; return how many were accepted.

    While it is not known how many partitions there are they go one by one as JSON: librdkafka holds them until it
    knows, and then finds the same partition by their key.
    """
    n_partitions = outbox.known_partitions(topic)
    if n_partitions is None:
        accepted = 0
        for row in rows.select(["id", "label", "at"]).to_pylist():
            label = Label(model=model, id=row["id"], label=row["label"], at=epoch_ms(row["at"]))
            accepted += send_label(outbox, topic, label)
            outbox.poll()
        return accepted
    return sum(
        _send(outbox, topic, own, encode_labels, partition)
        for partition, own in by_partition(rows, model, n_partitions)
    )


def send_label(outbox: Outbox, topic: str, label: Label) -> bool:
    """Queue one label as JSON; say whether it was accepted."""
    data = encode_json(label)
    if len(data) > MAX_EVENT_BYTES:
        return outbox.drop("too-large", 1, f"a label has {len(data):,} bytes; at most {MAX_EVENT_BYTES:,} are sent")
    return outbox.send(topic, data, key=label_key(label.model, label.id))


def _send(
    outbox: Outbox, topic: str, rows: pa.RecordBatch, encode: Callable[[pa.RecordBatch], bytes], partition: int
) -> int:
    n = rows.num_rows
    if n > BATCH_ROWS:
        return sum(
            _send(outbox, topic, rows.slice(start, BATCH_ROWS), encode, partition) for start in range(0, n, BATCH_ROWS)
        )
    data = encode(rows)
    if n > 1 and len(data) > BATCH_BYTES:
        halves = (rows.slice(0, n // 2), rows.slice(n // 2))
        return sum(_send(outbox, topic, half, encode, partition) for half in halves)
    if len(data) > MAX_EVENT_BYTES:
        outbox.drop("too-large", n, f"a row has {len(data):,} bytes; at most {MAX_EVENT_BYTES:,} are sent")
        return 0
    sent = outbox.send(topic, data, events=n, partition=partition, headers=_HEADERS)
    outbox.poll()
    return n if sent else 0
