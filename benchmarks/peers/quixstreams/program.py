"""Quix Streams' part: its tumbling windows, or a stateless function that sketches batches of its own."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from typing import Any

from quixstreams import Application
from quixstreams.models import JSONDeserializer

from benchmarks.peers.child import Payload, Clock, tell, told
from benchmarks.peers.datasketches_minute import Minutes, Row, row_decoder

BATCH = 5_000


class Part:
    """One run of the application, until the wanted minutes are complete."""

    def __init__(self, asked: Payload) -> None:
        self.asked = asked
        self.minutes = Minutes(asked)
        self.clock: Clock | None = None
        self.spent: Payload = {}
        self.app = Application(
            broker_address=asked["bootstrap_servers"],
            consumer_group=asked["group"],
            auto_offset_reset="earliest",
            state_dir=tempfile.mkdtemp(dir=asked["folder"]),
            auto_create_topics=False,
            use_changelog_topics=False,
            loglevel="ERROR",
        )

    def frame(self) -> Any:
        """The topic's events, decoded and under their own time."""
        row = row_decoder(self.asked)

        def decode(data: bytes) -> Row:
            if self.clock is None:
                self.clock = Clock()
            return row(data)

        topic = self.app.topic(
            self.asked["topic"],
            value_deserializer=JSONDeserializer(loads=decode),
            timestamp_extractor=lambda value, *_: value[0],
        )
        return self.app.dataframe(topic)

    def stateless(self) -> None:
        """Gather events in a list and sketch many at once; the list is no state of the application's."""
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
        seen = 0

        def count(_: Row) -> None:
            nonlocal seen
            seen += 1

        def sketch(window: dict[str, Any]) -> None:
            rows = window["value"]
            self.minutes.at(window["start"]).add_rows([row[1] for row in rows], [row[2] for row in rows])
            self.minutes.events = seen
            if len(self.minutes.found) == self.minutes.wanted:
                self.end()

        frame = self.frame().update(count)
        frame.tumbling_window(timedelta(minutes=1)).collect().final(closing_strategy="partition").update(sketch)
        self.app.run()

    def end(self) -> None:
        """Take the time and stop."""
        if self.clock is not None and not self.spent:
            self.spent = self.clock.read()
            self.app.stop()


def main() -> None:
    """Run one way and tell what it found."""
    part = Part(told())
    {"stateless": part.stateless, "windows": part.windows}[part.asked["way"]]()
    tell({**part.minutes.result(), **part.spent}, "quixstreams", "confluent-kafka", "datasketches", "msgspec")


if __name__ == "__main__":
    main()
