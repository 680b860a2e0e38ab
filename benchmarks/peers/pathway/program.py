"""Pathway: a subscriber that sketches the rows of each of its batches."""

import pathway as pw

from benchmarks.measured_process import JsonObject
from benchmarks.peers.datasketches_minute import Minutes, Row


def run(parameters: JsonObject) -> JsonObject:
    """Run the pipeline until the requested minutes are complete."""
    minutes, waiting = Minutes(parameters), list[Row]()
    kafka = {
        "bootstrap.servers": parameters["bootstrap_servers"],
        "group.id": parameters["group"],
        "auto.offset.reset": "earliest",
    }
    events = pw.io.kafka.read(kafka, topic=parameters["topic"], format="raw", autocommit_duration_ms=200)

    def sketch(_time: int) -> None:
        minutes.add_batch(waiting)
        waiting.clear()

    # Rows of a batch come in any order.
    pw.io.subscribe(
        events, lambda key, row, time, is_addition: waiting.append(minutes.decode(row["data"])), on_time_end=sketch
    )
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    raise RuntimeError("the pipeline ended before the requested minutes were complete")
