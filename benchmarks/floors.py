"""The floors below the sketcher: its libraries alone, and Faust with an empty loop, each on the same events.

librdkafka fetches messages, msgspec decodes them, and numpy sorts the fields: no Python program that uses these
libraries and processes every event and every value can be faster. librdkafka from C and a copy of the payload are the
floors of a program without Python objects.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import confluent_kafka
import msgspec
import numpy as np

from barograph_server.streams.broker.client import READ_AHEAD
from benchmarks.measured_process import Clock, JsonObject, write_result
from benchmarks.workload import Workload

PASSES = 5
"""Passes over the sample for the rates without Kafka."""
_LIBRDKAFKA = sorted(Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs").glob("librdkafka*.so*"))
"""The library that confluent-kafka's wheel contains."""
HAS_C = bool(_LIBRDKAFKA and shutil.which("cc"))
"""Whether librdkafka can be called from C: on Linux with a C compiler."""


def _settings(parameters: JsonObject) -> JsonObject:
    return {
        "bootstrap.servers": parameters["bootstrap_servers"],
        "enable.auto.commit": "false",
        "isolation.level": "read_committed",
        **READ_AHEAD,
    }


def consume_from_c(parameters: JsonObject) -> JsonObject:
    """Compile `consume.c` and run it: as `consume`, without an object for each message."""
    program, library = Path(parameters["folder"]) / "consume", _LIBRDKAFKA[0]
    source, path = Path(__file__).with_name("consume.c"), f"-Wl,-rpath,{library.parent}"
    subprocess.run(["cc", "-O2", "-o", program, source, library, path], check=True)
    settings = [text for setting in _settings(parameters).items() for text in map(str, setting)]
    command = [program, parameters["topic"], str(parameters["messages"]), *settings]
    events, cpu_s = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()
    return {"events": int(events), "cpu_s": float(cpu_s)}


def consume(parameters: JsonObject) -> JsonObject:
    """Fetch messages from librdkafka in batches and discard them."""
    consumer = confluent_kafka.Consumer({"group.id": "bare", **_settings(parameters)})
    clock, n_messages = Clock(), 0
    consumer.assign([confluent_kafka.TopicPartition(parameters["topic"], 0, 0)])
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


def bare_decode(workload: Workload, sample: list[bytes]) -> float:
    """Events per second when msgspec decodes each event into a struct with only the contract's members."""
    features: list[tuple[str, Any, Any]] = [(name, float | None, None) for name in workload.numbers]
    features += [(name, str | None, None) for name in workload.texts]
    inner: Any = msgspec.defstruct("Features", features, gc=False)
    members: list[Any] = [("model", str), ("version", str), ("id", str), ("at", int)]
    outer: Any = msgspec.defstruct("Event", [*members, ("features", inner), ("score", float | None, None)], gc=False)
    decode = msgspec.json.Decoder(outer).decode
    began = time.process_time()
    for _ in range(PASSES):
        for event in sample:
            decode(event)
    return PASSES * len(sample) / (time.process_time() - began)


def bare_sort(workload: Workload, n: int) -> float:
    """Events per second when numpy sorts every numeric field of n events in blocks of 20,000."""
    columns = [values.astype(np.float64) for values in workload.columns(n, 3).values() if values.dtype.kind != "O"]
    began = time.process_time()
    for _ in range(PASSES):
        for start in range(0, n, 20_000):
            for values in columns:
                np.sort(values[start : start + 20_000])
    return PASSES * n / (time.process_time() - began)


def bare_copy(sample: list[bytes]) -> float:
    """Events per second when their bytes are copied to one buffer, 10,000 events at a time."""
    began = time.process_time()
    for _ in range(PASSES):
        for start in range(0, len(sample), 10_000):
            b"".join(sample[start : start + 10_000])
    return PASSES * len(sample) / (time.process_time() - began)
