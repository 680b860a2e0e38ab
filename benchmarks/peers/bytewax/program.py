"""Bytewax: windows that fold the sketches of batches."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as w
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from benchmarks.measured_process import JsonObject
from benchmarks.peers.child import MINUTE_MS
from benchmarks.peers.datasketches_minute import Minute, Minutes, by_minute

BATCH = 10_000
START = datetime(2020, 1, 1, tzinfo=UTC)
WAIT = timedelta(seconds=10)
"""How long a window waits for late events. Bytewax advances its watermark by the wall clock while it works: without
this, the second batch of a replay would be late."""


def run(parameters: JsonObject) -> JsonObject:
    """Run the dataflow until the requested minutes are complete."""
    minutes, flow = Minutes(parameters), Dataflow("peer")
    brokers, topics = [parameters["bootstrap_servers"]], [parameters["topic"]]
    messages = kop.input("events", flow, brokers=brokers, topics=topics, batch_size=BATCH).oks

    def sketch(batch: list[Any]) -> Iterable[tuple[str, tuple[int, Minute]]]:
        minutes.events += len(batch)
        for rows in by_minute([minutes.decode(message.value) for message in batch]).values():
            minute = minutes.new()
            minute.add_rows(row[1] for row in rows)
            yield "all", (rows[-1][0], minute)

    def fold(minute: Minute, sketched: tuple[int, Minute]) -> Minute:
        minute.merge(sketched[1])
        return minute

    def merge(minute: Minute, other: Minute) -> Minute:
        minute.merge(other)
        return minute

    def close(_: str, item: tuple[str, tuple[int, Minute]]) -> None:
        number, minute = item[1]
        minutes.by_start[int(START.timestamp() * 1000) + number * MINUTE_MS] = minute
        if len(minutes.by_start) == minutes.n_minutes:
            minutes.end()

    closed = w.fold_window(
        "minute",
        op.flat_map_batch("sketch", messages, sketch),
        w.EventClock(lambda item: datetime.fromtimestamp(item[0] / 1000, UTC), WAIT),
        w.TumblingWindower(length=timedelta(minutes=1), align_to=START),
        minutes.new,
        fold,
        merge,
        ordered=False,
    )
    op.inspect("closed", closed.down, close)
    run_main(flow)
    raise RuntimeError("the dataflow ended before the requested minutes were complete")
