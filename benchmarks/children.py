"""The measured processes: `python -m benchmarks.children MODULE.FUNCTION JSON` measures itself and writes a JSON file.

Each runs in a process of its own, so that its CPU time (user and system, all threads, including those of librdkafka)
can be separated.
"""

import json
import os
import sys
import tempfile
from importlib import import_module
from typing import Any

from benchmarks.measured_process import Clock, JsonObject, write_result


def consume(parameters: JsonObject) -> JsonObject:
    """Fetch messages from librdkafka in batches and discard them."""
    from confluent_kafka import Consumer, TopicPartition

    from barograph_server.streams.broker.client import READ_AHEAD

    consumer = Consumer(
        {
            "bootstrap.servers": parameters["bootstrap_servers"],
            "group.id": "bare",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            **READ_AHEAD,
        }
    )
    clock, n_messages = Clock(), 0
    consumer.assign([TopicPartition(parameters["topic"], 0, 0)])
    while n_messages < parameters["messages"]:
        n_messages += len(consumer.consume(20_000, 0.1))
    result = {"events": n_messages, **clock.read()}
    consumer.close()
    return result


def faust_loop(parameters: JsonObject) -> JsonObject:
    """Run Faust's loop with an empty body. Values are not decoded; the clock starts at the first event."""
    import faust

    app = faust.App(
        parameters["group"],
        broker=f"kafka://{parameters['bootstrap_servers']}",
        datadir=tempfile.mkdtemp(dir=parameters["folder"]),
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    topic = app.topic(parameters["topic"], value_serializer="raw", key_serializer="raw", value_type=bytes)
    expected = parameters["messages"]

    @app.agent(topic)  # type: ignore[untyped-decorator]
    async def loop(stream: Any) -> None:
        clock, n_messages = None, 0
        async for _ in stream:
            if clock is None:
                clock = Clock()
            n_messages += 1
            if n_messages > expected:
                write_result(parameters, {"events": expected, **clock.read()})
                # A regular shutdown would wait for the consumer group.
                os._exit(0)

    faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False).execute_from_commandline()
    raise RuntimeError("the Faust worker ended before it had read all events")


def main() -> int:
    """Run the function that the command line names."""
    (module, function), parameters = sys.argv[1].rsplit(".", 1), json.loads(sys.argv[2])
    write_result(parameters, getattr(import_module(module), function)(parameters))
    return 0


if __name__ == "__main__":
    sys.exit(main())
