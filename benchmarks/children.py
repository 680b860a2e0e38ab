"""The measured processes: `python -m benchmarks.children NAME JSON` measures itself and writes a JSON file.

Each is a process of its own, so that its CPU time (user and system, all threads, librdkafka's too) is its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Payload = dict[str, Any]


def cpu_s() -> float:
    """CPU time of this process so far, children not counted."""
    spent = os.times()
    return spent.user + spent.system


def memory_mib() -> tuple[float, float]:
    """Resident memory now, and the most there ever was."""
    result = {}
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            result[name] = int(value.split()[0]) / 1024
    return result["VmRSS"], result["VmHWM"]


class Clock:
    """CPU and wall time since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = cpu_s(), time.monotonic()

    def read(self, events: int) -> Payload:
        """What was spent on so many events."""
        return {"events": events, "cpu_s": cpu_s() - self._cpu, "wall_s": time.monotonic() - self._wall}


def consume(parameters: Payload) -> Payload:
    """Take messages from librdkafka in batches and do nothing with them."""
    from confluent_kafka import Consumer, TopicPartition

    from streams.broker.client import READ_AHEAD

    consumer = Consumer(
        {
            "bootstrap.servers": parameters["bootstrap_servers"],
            "group.id": "bare",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            **READ_AHEAD,
        }
    )
    clock, known = Clock(), 0
    consumer.assign([TopicPartition(parameters["topic"], 0, 0)])
    while known < parameters["messages"]:
        known += len(consumer.consume(20_000, 0.1))
    result = clock.read(known)
    consumer.close()
    return result


def faust_loop(parameters: Payload) -> Payload:
    """Faust's loop with nothing in it: bytes are not decoded, the clock starts at the first event."""
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
        clock, known = None, 0
        async for _ in stream:
            if clock is None:
                clock = Clock()
            known += 1
            if known > expected:
                tell(parameters, clock.read(expected))
                # Nothing is left to do, and an orderly end would wait for the group.
                os._exit(0)

    faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False).execute_from_commandline()
    raise RuntimeError("the Faust worker ended before it had read all events")


def tell(parameters: Payload, found: Payload) -> None:
    """Hand back what was found."""
    Path(parameters["out"]).write_text(json.dumps(found), encoding="utf-8")


CHILDREN: dict[str, Callable[[Payload], Payload]] = {
    "consume": consume,
    "faust": faust_loop,
}


def main() -> int:
    """Run the child that the command line names."""
    from benchmarks import processors, publishing

    name, reported = sys.argv[1], json.loads(sys.argv[2])
    tell(reported, {**CHILDREN, **processors.CHILDREN, **publishing.CHILDREN}[name](reported))
    return 0


if __name__ == "__main__":
    sys.exit(main())
