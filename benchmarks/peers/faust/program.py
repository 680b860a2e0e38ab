"""Faust: an agent that sketches batches with `take`.

The state is a dictionary and not a Faust table, which would write each of twenty sketches to its changelog for every
event. The event loop is uvloop, as with `faust --loop uvloop`.
"""

import tempfile
from typing import Any

import faust
from mode.loop import use

from benchmarks.measured_process import Clock, JsonObject
from benchmarks.peers.datasketches_minute import Minutes

BATCH = 5_000


def run(parameters: JsonObject) -> JsonObject:
    """Run the worker until the requested minutes are complete."""
    use("uvloop")
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
    minutes = Minutes(parameters)

    @app.agent(topic)  # type: ignore[untyped-decorator]
    async def batches(stream: Any) -> None:
        is_first = True
        async for values in stream.take(BATCH, within=1.0):
            minutes.add_batch(list(map(minutes.decode, values)))
            if is_first:
                # The first batch arrived before the clock started and does not count.
                is_first, minutes.clock, minutes.events = False, Clock(), 0

    faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False).execute_from_commandline()
    raise RuntimeError("the Faust worker ended before it had read all events")
