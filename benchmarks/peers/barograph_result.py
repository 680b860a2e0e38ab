"""The result of the sketcher, read from its committed partials, in the format of the peers' results."""

from collections import Counter
from itertools import chain

from barograph_server.sketches.baseline.layout import EVENTS, Layout
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch
from barograph_server.streams.broker.compacted_log import reread
from barograph_server.streams.records import Partial, decode
from benchmarks.measured_process import JsonObject
from benchmarks.peers.child import RANKS
from benchmarks.stack import Testbed
from benchmarks.workload import Workload


def read_result(testbed: Testbed, workload: Workload, topic: str, start: int) -> JsonObject:
    """Merge the partials committed from an offset on; return quantiles and counts."""
    layout = Layout(workload.baseline)
    minutes: Counter[int] = Counter()
    sketches: dict[str, NumericSketch] = {}
    ranges = {0: (start, testbed.end_offset(topic))}
    batches = reread(testbed.settings().processor(), "read-partials", topic, ranges, poll_messages=100, poll_s=1.0)
    for partial in (decode(message.value()) for message in chain.from_iterable(batches)):
        if not isinstance(partial, Partial):
            continue
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
