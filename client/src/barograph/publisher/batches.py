"""Rows of events as Arrow messages of a thousand rows, of fewer where rows are wide, split in two where too large."""

from __future__ import annotations

from itertools import islice

import pyarrow as pa

from barograph.events import (
    ARROW_CONTENT_TYPE,
    BATCH_BYTES,
    BATCH_ROWS,
    BATCH_VALUES,
    CONTENT_TYPE_HEADER,
    MAX_EVENT_BYTES,
    Label,
    encode_arrow,
)
from barograph.publisher.outbox import Outbox, send_label
from barograph.publisher.tables import by_partition, constant_column
from barograph.values import epoch_ms

_HEADERS = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]


def send_predictions(outbox: Outbox, topic: str, rows: pa.RecordBatch) -> int:
    """Queue prepared predictions, each with producer and sequence number, and return how many were accepted."""
    n = rows.num_rows
    seqs = pa.array(islice(outbox.seq, n), pa.int64(), size=n)
    columns = [*rows.columns, constant_column(outbox.producer_id, n), seqs]
    numbered = pa.RecordBatch.from_arrays(columns, names=[*rows.schema.names, "producer", "seq"])
    return _send(outbox, topic, numbered, partition=-1)


def send_labels(outbox: Outbox, topic: str, model: str, rows: pa.RecordBatch) -> int:
    """Queue labels, all labels of an id for the same partition, and return how many were accepted.

    Until the number of partitions is known, labels are sent one by one as JSON. librdkafka holds these until it knows
    the number, and then derives the same partition from their key.

    Args:
        rows: Labels as `LabelTables` prepares them.
    """
    n_partitions = outbox.cached_partition_count(topic)
    if n_partitions is None:
        accepted = 0
        for row in rows.select(["id", "label", "at"]).to_pylist():
            label = Label(model=model, id=row["id"], label=row["label"], at=epoch_ms(row["at"]))
            accepted += send_label(outbox, topic, label)
            outbox.poll()
        return accepted
    return sum(
        _send(outbox, topic, partition_rows, partition)
        for partition, partition_rows in by_partition(rows, model, n_partitions)
    )


def _send(outbox: Outbox, topic: str, rows: pa.RecordBatch, partition: int) -> int:
    n = rows.num_rows
    size = min(BATCH_ROWS, max(1, BATCH_VALUES // max(1, rows.num_columns)))
    if n > size:
        return sum(_send(outbox, topic, rows.slice(start, size), partition) for start in range(0, n, size))
    data = encode_arrow(rows)
    if n > 1 and len(data) > BATCH_BYTES:
        halves = (rows.slice(0, n // 2), rows.slice(n // 2))
        return sum(_send(outbox, topic, half, partition) for half in halves)
    if len(data) > MAX_EVENT_BYTES:
        outbox.drop("too-large", n, f"a row has {len(data):,} bytes; at most {MAX_EVENT_BYTES:,} are sent")
        return 0
    is_accepted = outbox.send(topic, data, n_events=n, partition=partition, headers=_HEADERS)
    outbox.poll()
    return n if is_accepted else 0
