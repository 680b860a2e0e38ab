"""The measured processes: `python -m benchmarks.children NAME JSON` measures itself and writes a JSON file.

Each is a process of its own, so that its CPU time (user and system, all threads, librdkafka's too) is its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from streams.batch import MessageBatch
from streams.decode_json import JsonDecoder
from streams.registry import Registry
from streams.summarise import FlushSummaries
from streams.topics import Topics
from warehouse.client import Address

Told = dict[str, Any]


def cpu_s() -> float:
    """CPU time of this process so far, children not counted."""
    spent = os.times()
    return spent.user + spent.system


def memory_mib() -> tuple[float, float]:
    """Resident memory now, and the most there ever was."""
    found = {}
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            found[name] = int(value.split()[0]) / 1024
    return found["VmRSS"], found["VmHWM"]


class Clock:
    """CPU and wall time since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = cpu_s(), time.monotonic()

    def read(self, events: int) -> Told:
        """Tell what so many events took."""
        return {"events": events, "cpu_s": cpu_s() - self._cpu, "wall_s": time.monotonic() - self._wall}


def consume(told: Told) -> Told:
    """Take messages from librdkafka in batches and do nothing with them."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": told["bootstrap_servers"],
            "group.id": "bare",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "queued.min.messages": 100_000,
            "queued.max.messages.kbytes": 65_536,
        }
    )
    clock, seen = Clock(), 0
    consumer.assign([TopicPartition(told["topic"], 0, 0)])
    while seen < told["messages"]:
        seen += len(consumer.consume(20_000, 0.1))
    found = clock.read(seen)
    consumer.close()
    return found


def faust_loop(told: Told) -> Told:
    """Faust's loop with nothing in it: bytes are not decoded, the clock starts at the first event."""
    import faust

    app = faust.App(
        told["group"],
        broker=f"kafka://{told['bootstrap_servers']}",
        datadir=tempfile.mkdtemp(dir=told["folder"]),
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    topic = app.topic(told["topic"], value_serializer="raw", key_serializer="raw", value_type=bytes)
    wanted = told["messages"]

    @app.agent(topic)  # type: ignore[untyped-decorator]
    async def loop(stream: Any) -> None:
        clock, seen = None, 0
        async for _ in stream:
            if clock is None:
                clock = Clock()
            seen += 1
            if seen > wanted:
                tell(told, clock.read(wanted))
                # Nothing is left to do, and an orderly end would wait for the group.
                os._exit(0)

    faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False).execute_from_commandline()
    raise RuntimeError("the Faust worker ended before it had read all events")


def sketcher(told: Told) -> Told:
    """The sketcher as `streams.run` puts it together, until it has committed a number of events."""
    from streams.process import configure_logging
    from streams.registry_source import RegistrySource
    from streams.report import Report, Reporter
    from streams.settings import ProcessorSettings
    from streams.sketcher import Sketcher

    configure_logging("warning")
    stop, samples = threading.Event(), []

    class Counting(Report):
        def committed(self, events: int, outcome: str, dead_letters: Mapping[str, int] | None = None) -> None:
            super().committed(events, outcome, dead_letters)
            if events:
                rss, peak = memory_mib()
                samples.append({**clock.read(self.events), "rss_mib": rss, "peak_mib": peak})
            if self.events + self.dead_letters >= told["events"]:
                stop.set()

    report = Counting("sketcher", "benchmark")
    settings = ProcessorSettings(
        instance="benchmark",
        bootstrap_servers=told["bootstrap_servers"],
        warehouse=Address(told["host"], told["port"], told["database"]),
        topics=Topics(told["prefix"]),
        flush_s=told["flush_s"],
    )
    source = RegistrySource(settings.warehouse, settings.registry_poll_s)
    source.start()
    reporter = Reporter(report, settings.warehouse, settings.report_s)
    reporter.start()
    process = Sketcher(settings, source.current, report)
    _warm_up(source.current(), told["warm"].encode())
    clock = Clock()
    if told.get("profile"):
        profiled(lambda: process.run(stop), Path(told["profile"]))
    else:
        process.run(stop)
    source.stop()
    reporter.stop()
    if report.dead_letters:
        raise RuntimeError(f"{report.dead_letters} events became dead letters: the figures would mean nothing")
    return {**samples[-1], "samples": samples}


def _warm_up(registry: Registry, event: bytes) -> None:
    """Summarise one event, so that what libraries import at their first use (pandas, by pyarrow) is not measured."""
    now_ms = np.array([time.time_ns() // 1_000_000])
    batch = MessageBatch([event], np.zeros(1, np.int32), np.zeros(1, np.int64), now_ms)
    summaries = FlushSummaries(registry)
    for columns in JsonDecoder(registry).decode(batch).events:
        summaries.add(columns)


def profiled(work: Callable[[], None], path: Path) -> None:
    """Do some work under cProfile and write where the time went."""
    import cProfile
    import pstats

    profile = cProfile.Profile()
    profile.runcall(work)
    with path.open("w", encoding="utf-8") as out:
        pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(40)


def tell(told: Told, found: Told) -> None:
    """Hand back what was found."""
    Path(told["out"]).write_text(json.dumps(found), encoding="utf-8")


CHILDREN: dict[str, Callable[[Told], Told]] = {
    "consume": consume,
    "faust": faust_loop,
    "sketcher": sketcher,
}


def main() -> int:
    """Run the child that the command line names."""
    from benchmarks.publishing import CHILDREN as PUBLISHING
    from benchmarks.recording import CHILDREN as RECORDING
    from benchmarks.wide import CHILDREN as WIDE

    name, told = sys.argv[1], json.loads(sys.argv[2])
    tell(told, {**CHILDREN, **PUBLISHING, **RECORDING, **WIDE}[name](told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
