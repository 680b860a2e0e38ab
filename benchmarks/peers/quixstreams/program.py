"""Quix Streams: a stateless function that sketches batches."""

import tempfile

from quixstreams import Application
from quixstreams.models import JSONDeserializer

from benchmarks.measured_process import JsonObject
from benchmarks.peers.datasketches_minute import Minutes, Row

BATCH = 5_000


def run(parameters: JsonObject) -> JsonObject:
    """Run the application until the requested minutes are complete."""
    minutes = Minutes(parameters)
    app = Application(
        broker_address=parameters["bootstrap_servers"],
        consumer_group=parameters["group"],
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(dir=parameters["folder"]),
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="ERROR",
    )
    topic = app.topic(
        parameters["topic"],
        value_deserializer=JSONDeserializer(loads=minutes.decode),
        timestamp_extractor=lambda value, *_: value[0],
    )
    waiting: list[Row] = []  # no state of the application

    def gather(row: Row) -> None:
        waiting.append(row)
        if len(waiting) == BATCH:
            minutes.add_batch(waiting)
            waiting.clear()

    app.dataframe(topic).update(gather)
    app.run()
    raise RuntimeError("the application ended before the requested minutes were complete")
