"""The result of the sketcher, read from its committed partials, in the format of the peers' results."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.baseline.layout import EVENTS, HEADER, Layout
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch
from barograph_server.streams.records import Partial, decode
from benchmarks.measured_process import JsonObject
from benchmarks.peers.child import RANKS
from benchmarks.stack import Testbed
from benchmarks.workload import Workload


@dataclass(frozen=True)
class Panes:
    """The merged partials of one run."""

    layout: Layout
    counts: dict[int, NDArray[np.int64]]
    """Start of the pane (Unix ms) → counts of the slice `all`, shape (width,)."""
    sketches: dict[str, NumericSketch]
    """Numeric field → sketch of all panes together."""

    def result(self) -> JsonObject:
        """Quantiles and counts in the format of the peers' results."""
        categories: dict[str, dict[str, int]] = {}
        for i, field in enumerate(self.layout.fields):
            if field.kind == "category":
                cells = slice(int(self.layout.starts[i]), int(self.layout.starts[i]) + field.n_cells)
                summed = np.sum([counts[cells] for counts in self.counts.values()], axis=0).tolist()
                named = zip((*field.categories, "unseen", "null"), summed, strict=True)
                categories[field.name] = {name: n for name, n in named if n}
        return {
            "minutes": {str(start): int(self.counts[start][EVENTS]) for start in sorted(self.counts)},
            "ranks": list(RANKS),
            "rank_error": max(sketch.rank_error for sketch in self.sketches.values()),
            "quantiles": {name: sketch.quantiles(RANKS).tolist() for name, sketch in self.sketches.items()},
            "categories": categories,
        }


def without_slices(workload: Workload) -> Workload:
    """The workload without slices, since the peers have none."""
    fields = tuple(
        msgspec.structs.replace(field, slices={ALL: field.slices[ALL]}) for field in workload.baseline.fields
    )
    baseline = msgspec.structs.replace(
        workload.baseline, fields=fields, dimensions=(), slice_rows={ALL: workload.baseline.rows}
    )
    return replace(workload, contract=msgspec.structs.replace(workload.contract, slices=()), baseline=baseline)


def read_panes(testbed: Testbed, workload: Workload, topic: str, start: int) -> Panes:
    """Merge the partials committed from an offset on.

    Raises:
        RuntimeError: there are no partials.
    """
    layout = Layout(workload.baseline)
    counts: dict[int, NDArray[np.int64]] = {}
    sketches: dict[str, NumericSketch] = {}
    for partial in _partials(testbed, topic, start):
        whole = counts.setdefault(partial.pane_start_s * 1000, np.zeros(layout.width, dtype=np.int64))
        begin, width = int(layout.starts[partial.field_from]), partial.counts.shape[1] - HEADER
        whole[:HEADER] += partial.counts[0, :HEADER]
        whole[begin : begin + width] += partial.counts[0, HEADER:]
        for field, data in zip(layout.fields[partial.field_from : partial.field_to], partial.sketches, strict=True):
            if field.kind == "numeric" and data:
                sketch = numeric_sketch(field.integer, "kll", data)
                sketches.setdefault(field.name, NumericSketch(sketch.sketch_type)).merge(sketch)
    if not sketches:
        raise RuntimeError(f"the sketcher committed no partial to {topic}")
    return Panes(layout, counts, sketches)


def _partials(testbed: Testbed, topic: str, start: int) -> Iterator[Partial]:
    consumer = Consumer(
        {
            "bootstrap.servers": testbed.bootstrap_servers,
            "group.id": f"read-{uuid.uuid4().hex[:8]}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([TopicPartition(topic, 0, start)])
    try:
        while True:
            message = consumer.poll(30)
            if message is None:
                raise RuntimeError(f"{topic} could not be read to its end")
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                raise RuntimeError(f"{topic}: {error}")
            record = decode(message.value())
            if isinstance(record, Partial):
                yield record
    finally:
        consumer.close()
