"""Bytewax: windows that fold single events, or windows that fold the sketches of batches."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as w
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from benchmarks.measured_process import Clock, JsonObject
from benchmarks.peers.child import MINUTE_MS, print_result, read_parameters
from benchmarks.peers.datasketches_minute import Minute, Minutes, Row, by_minute, row_decoder

BATCH = 10_000
START = datetime(2020, 1, 1, tzinfo=UTC)
WAIT = timedelta(seconds=10)
"""How long a window waits for late events. Bytewax advances its watermark by the wall clock while it works: without
this, the second batch of a replay would be late."""


class BytewaxRun:
    """One dataflow, which runs until the requested minutes are complete."""

    def __init__(self, parameters: JsonObject) -> None:
        self.parameters = parameters
        self.minutes = Minutes(parameters)
        self.row = row_decoder(parameters["numbers"])
        self.clock: Clock | None = None
        self.flow = Dataflow("peer")
        self.messages = kop.input(
            "events",
            self.flow,
            brokers=[parameters["bootstrap_servers"]],
            topics=[parameters["topic"]],
            batch_size=BATCH,
        ).oks

    def decode(self, message: Any) -> Row:
        """Decode one message, the first of which starts the clock."""
        if self.clock is None:
            self.clock = Clock()
        self.minutes.events += 1
        return self.row(message.value)

    def windows(self) -> None:
        """Fold every event into the sketches of its window."""
        keyed = op.key_on("key", op.map("decode", self.messages, self.decode), lambda _: "all")

        def fold(minute: Minute, row: Row) -> Minute:
            minute.add(row[1])
            return minute

        self.fold_windows(keyed, fold, lambda row: _utc(row[0]))

    def batches(self) -> None:
        """Sketch each batch by minute and merge these sketches in windows."""

        def sketch(messages: list[Any]) -> Iterable[tuple[str, tuple[int, Minute]]]:
            for rows in by_minute([self.decode(message) for message in messages]).values():
                minute = self.minutes.new()
                minute.add_rows(row[1] for row in rows)
                yield "all", (rows[-1][0], minute)

        def fold(minute: Minute, sketched: tuple[int, Minute]) -> Minute:
            minute.merge(sketched[1])
            return minute

        self.fold_windows(op.flat_map_batch("sketch", self.messages, sketch), fold, lambda run: _utc(run[0]))

    def fold_windows(self, keyed: Any, fold: Any, at: Any) -> None:
        """Fold a stream into windows of a minute and run until the wanted ones are closed."""

        def merge(minute: Minute, other: Minute) -> Minute:
            minute.merge(other)
            return minute

        closed = w.fold_window(
            "minute",
            keyed,
            w.EventClock(at, WAIT),
            w.TumblingWindower(length=timedelta(minutes=1), align_to=START),
            self.minutes.new,
            fold,
            merge,
            ordered=False,
        )
        op.inspect("closed", closed.down, self.close)
        run_main(self.flow)

    def close(self, _: str, item: tuple[str, tuple[int, Minute]]) -> None:
        """Add a closed window; after the last one print the result and exit."""
        number, minute = item[1]
        self.minutes.by_start[int(START.timestamp() * 1000) + number * MINUTE_MS] = minute
        if len(self.minutes.by_start) == self.minutes.n_minutes and self.clock is not None:
            spent = self.clock.read()
            print_result({**self.minutes.result(), **spent}, "bytewax", "confluent-kafka", "datasketches", "msgspec")
            # The dataflow would continue to the end of the topic.
            os._exit(0)


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def main() -> None:
    """Run one implementation and print its result."""
    run = BytewaxRun(read_parameters())
    {"windows": run.windows, "batches": run.batches}[run.parameters["way"]]()
    raise RuntimeError("the dataflow ended before the requested minutes were complete")


if __name__ == "__main__":
    main()
