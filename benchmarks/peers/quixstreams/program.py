"""Quix Streams: tumbling windows, or a stateless function that sketches batches."""

import tempfile
from datetime import timedelta
from typing import Any

from quixstreams import Application
from quixstreams.models import JSONDeserializer

from benchmarks.measured_process import JsonObject
from benchmarks.peers.datasketches_minute import Minutes, Row

BATCH = 5_000


def run(parameters: JsonObject) -> JsonObject:
    """Run one implementation until the requested minutes are complete."""
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
    {"stateless": _stateless, "windows": _windows}[parameters["way"]](app.dataframe(topic), minutes)
    app.run()
    raise RuntimeError("the application ended before the requested minutes were complete")


def _stateless(frame: Any, minutes: Minutes) -> None:
    """Collect events in a list, which is no application state, and sketch them in batches."""
    waiting: list[Row] = []

    def gather(row: Row) -> None:
        waiting.append(row)
        if len(waiting) == BATCH:
            minutes.add_batch(waiting)
            waiting.clear()

    frame.update(gather)


def _windows(frame: Any, minutes: Minutes) -> None:
    """Collect the events of each minute in a tumbling window and sketch it when it closes."""

    def count(_: Row) -> None:
        minutes.events += 1

    def sketch(window: dict[str, Any]) -> None:
        minutes.at(window["start"]).add_rows(row[1] for row in window["value"])
        if len(minutes.by_start) == minutes.n_minutes:
            minutes.end()

    windows = frame.update(count).tumbling_window(timedelta(minutes=1)).collect()
    windows.final(closing_strategy="partition").update(sketch)
