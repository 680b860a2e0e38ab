"""The result of the sketcher, read from its committed partials, in the format of the peers' results."""

import uuid
from collections import Counter
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, TopicPartition

from barograph_server.sketches.baseline.layout import EVENTS, Layout
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch
from barograph_server.streams.records import Partial, decode
from benchmarks.measured_process import JsonObject
from benchmarks.peers.child import RANKS
from benchmarks.stack import Testbed
from benchmarks.workload import Workload


def read_result(testbed: Testbed, workload: Workload, topic: str, start: int) -> JsonObject:
    """Merge the partials committed from an offset on; return quantiles and counts.

    Raises:
        RuntimeError: there are no partials.
    """
    layout = Layout(workload.baseline)
    minutes: Counter[int] = Counter()
    sketches: dict[str, NumericSketch] = {}
    for partial in _partials(testbed, topic, start):
        minutes[partial.pane_start_s * 1000] += int(partial.counts[0, EVENTS])
        for field, data in zip(layout.fields[partial.field_from : partial.field_to], partial.sketches, strict=True):
            if data:
                sketch = numeric_sketch(field.integer, "kll", data)
                sketches.setdefault(field.name, NumericSketch(sketch.sketch_type)).merge(sketch)
    if not sketches:
        raise RuntimeError(f"the sketcher committed no partial to {topic}")
    return {
        "minutes": {str(start): minutes[start] for start in sorted(minutes)},
        "ranks": list(RANKS),
        "rank_error": max(sketch.rank_error for sketch in sketches.values()),
        "quantiles": {name: sketch.quantiles(RANKS).tolist() for name, sketch in sketches.items()},
    }


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
