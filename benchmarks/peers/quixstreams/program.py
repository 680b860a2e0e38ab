"""Quix Streams: tumbling windows, or a stateless function that sketches batches."""

import tempfile
from datetime import timedelta
from typing import Any

from quixstreams import Application
from quixstreams.models import JSONDeserializer

from benchmarks.measured_process import Clock, JsonObject
from benchmarks.peers.child import print_result, read_parameters
from benchmarks.peers.datasketches_minute import Minutes, Row, row_decoder

BATCH = 5_000


class QuixStreamsRun:
    """One run of the application until the requested minutes are complete."""

    def __init__(self, parameters: JsonObject) -> None:
        self.parameters = parameters
        self.minutes = Minutes(parameters)
        self.clock: Clock | None = None
        self.spent: JsonObject = {}
        self.app = Application(
            broker_address=parameters["bootstrap_servers"],
            consumer_group=parameters["group"],
            auto_offset_reset="earliest",
            state_dir=tempfile.mkdtemp(dir=parameters["folder"]),
            auto_create_topics=False,
            use_changelog_topics=False,
            loglevel="ERROR",
        )

    def frame(self) -> Any:
        """The decoded events of the topic with their event times."""
        row = row_decoder(self.parameters["numbers"])

        def decode(data: bytes) -> Row:
            if self.clock is None:
                self.clock = Clock()
            return row(data)

        topic = self.app.topic(
            self.parameters["topic"],
            value_deserializer=JSONDeserializer(loads=decode),
            timestamp_extractor=lambda value, *_: value[0],
        )
        return self.app.dataframe(topic)

    def stateless(self) -> None:
        """Collect events in a list, which is no application state, and sketch them in batches."""
        waiting: list[Row] = []

        def gather(row: Row) -> None:
            waiting.append(row)
            if len(waiting) == BATCH:
                self.minutes.add_batch(waiting)
                waiting.clear()
                if self.minutes.complete():
                    self.end()

        self.frame().update(gather)
        self.app.run()

    def windows(self) -> None:
        """Collect the events of each minute in a tumbling window and sketch it when it closes."""
        n_events = 0

        def count(_: Row) -> None:
            nonlocal n_events
            n_events += 1

        def sketch(window: dict[str, Any]) -> None:
            rows = window["value"]
            self.minutes.at(window["start"]).add_rows(row[1] for row in rows)
            self.minutes.events = n_events
            if len(self.minutes.by_start) == self.minutes.n_minutes:
                self.end()

        frame = self.frame().update(count)
        frame.tumbling_window(timedelta(minutes=1)).collect().final(closing_strategy="partition").update(sketch)
        self.app.run()

    def end(self) -> None:
        """Read the clock and stop."""
        if self.clock is not None and not self.spent:
            self.spent = self.clock.read()
            self.app.stop()


def main() -> None:
    """Run one implementation and print its result."""
    run = QuixStreamsRun(read_parameters())
    {"stateless": run.stateless, "windows": run.windows}[run.parameters["way"]]()
    print_result({**run.minutes.result(), **run.spent}, "quixstreams", "confluent-kafka", "datasketches", "msgspec")


if __name__ == "__main__":
    main()
