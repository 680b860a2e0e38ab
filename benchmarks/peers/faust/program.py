"""Faust: an agent that sketches single events, or batches with `take`.

The state is a dictionary and not a Faust table, which would write each of twenty sketches to its changelog for every
event. The event loop is uvloop, as with `faust --loop uvloop`.
"""

import os
import tempfile
from typing import Any

import faust
from mode.loop import use

from benchmarks.measured_process import Clock
from benchmarks.peers.child import print_result, read_parameters
from benchmarks.peers.datasketches_minute import Minutes, row_decoder

BATCH = 5_000


def main() -> None:
    """Run the worker until the requested minutes are complete."""
    use("uvloop")
    parameters = read_parameters()
    app = faust.App(
        parameters["group"],
        broker=f"kafka://{parameters['bootstrap_servers']}",
        datadir=tempfile.mkdtemp(dir=parameters["folder"]),
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
        stream_buffer_maxsize=2 * BATCH,
    )
    topic = app.topic(parameters["topic"], value_serializer="raw", key_serializer="raw", value_type=bytes)
    minutes, row = Minutes(parameters), row_decoder(parameters["numbers"])

    def end(clock: Clock) -> None:
        spent = clock.read()
        print_result({**minutes.result(), **spent}, "faust-streaming", "aiokafka", "datasketches", "msgspec")
        # A regular shutdown would wait for the consumer group.
        os._exit(0)

    async def events(stream: Any) -> None:
        clock = None
        async for value in stream:
            if clock is None:
                clock = Clock()
            minutes.add(row(value))
            if minutes.complete():
                end(clock)

    async def batches(stream: Any) -> None:
        clock = None
        async for values in stream.take(BATCH, within=1.0):
            if clock is None:
                # The first batch arrived before the clock started and does not count.
                minutes.add_batch(list(map(row, values)))
                clock, minutes.events = Clock(), 0
                continue
            minutes.add_batch(list(map(row, values)))
            if minutes.complete():
                end(clock)

    app.agent(topic)({"events": events, "take": batches}[parameters["way"]])
    faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False).execute_from_commandline()
    raise RuntimeError("the Faust worker ended before it had read all events")


if __name__ == "__main__":
    main()
