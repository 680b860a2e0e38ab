"""The monitor's Faust app with a worker that appends each record to the file `handled`, as a line of JSON: partition,
offset, text. `python -m tests.support.faust_probe OPTIONS`."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from barograph_server.streams.health import watchdog
from barograph_server.streams.health.endpoint import Endpoint
from barograph_server.streams.monitor import app
from barograph_server.streams.monitor.worker import NOTHING, IncomingRecord, Superseded
from barograph_server.streams.runtime.lifecycle import configure_logging
from barograph_server.streams.runtime.metrics_report import Heartbeat, Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.topics import Topics
from barograph_server.warehouse.client import Address


class NotingWorker:
    """Stands for `Worker`: records up to `withhold_from` are durable, the one at `fail_at` raises once."""

    newest = 0

    def __init__(self, options: dict[str, Any]) -> None:
        self._handled = Path(options["handled"])
        self._failed = self._handled.with_suffix(".failed")
        self.heartbeat, self.assigned = Heartbeat(), None
        self.rejoin, self.rejoined_at = note_rejoin(), set[int]()
        self._fail_at, self._withhold_from = options.get("fail_at"), options.get("withhold_from")

    def hang(self) -> None:
        """Hang in the event loop at its second beat, like a call that never returns."""
        beat = self.heartbeat.beat

        def last() -> None:
            beat()
            self.heartbeat.beat = lambda: time.sleep(600)  # type: ignore[method-assign]

        self.heartbeat.beat = last  # type: ignore[method-assign]

    def handle(self, record: IncomingRecord) -> int:
        if record.assignment < self.newest:
            raise Superseded
        with self._handled.open("a") as file:
            text = (record.value or b"").decode()
            file.write(json.dumps([record.partition, record.offset, text]) + "\n")
        if text == "rejoin" and record.offset not in self.rejoined_at:
            self.rejoined_at.add(record.offset)
            self.rejoin()
        if record.offset == self._fail_at and not self._failed.exists():
            self._failed.touch()
            raise ValueError("this record cannot be worked on")
        if self._withhold_from is not None and record.offset >= self._withhold_from:
            return NOTHING
        return record.offset + 1

    def supersede(self, assignment: int) -> None:
        self.newest = assignment

    def stop(self) -> None:
        """Ignore it: the worker never waits."""


def drop_first_fetch(*, seek_fails: bool) -> None:
    """Make Faust drop the first records that it fetches, as if a rebalance had begun between fetch and delivery."""

    async def fail(_thread: Any) -> Any:
        raise KafkaError("the seek fails")

    wait_next_records = app.CommittedOnlyConsumer._wait_next_records

    async def wait_once(consumer: Any, *arguments: Any) -> Any:
        records, active = await wait_next_records(consumer, *arguments)
        if records:
            app.CommittedOnlyConsumer._wait_next_records = wait_next_records
            if seek_fails:
                app.CommittedOnlyThread.seek_to_committed = fail  # type: ignore[assignment,method-assign]
            consumer.stop_flow()
            asyncio.get_running_loop().call_later(0.5, consumer.resume_flow)
        return records, active

    app.CommittedOnlyConsumer._wait_next_records = wait_once


def note_rejoin() -> Callable[[], None]:
    """Return a function that rejoins the group as after a broker's restart: a follower keeps its generation."""
    create, started = app.CommittedOnlyThread._create_worker_consumer, []

    def create_and_note(thread: Any, transport: Any) -> Any:
        consumer = create(thread, transport)
        started.append((thread.thread_loop, consumer))
        return consumer

    def rejoin() -> None:
        [(loop, consumer)] = started
        loop.call_soon_threadsafe(consumer._coordinator.request_rejoin)

    app.CommittedOnlyThread._create_worker_consumer = create_and_note  # type: ignore[assignment,method-assign]
    return rejoin


def main(arguments: list[str]) -> int:
    options = json.loads(arguments[0])
    configure_logging()
    if options.get("uncommitted_too"):
        app.CommittedOnlyThread._create_worker_consumer = AIOKafkaConsumerThread._create_worker_consumer  # type: ignore[method-assign]
    if options.get("drops_first_fetch"):
        drop_first_fetch(seek_fails=bool(options.get("seek_fails")))
    app.GROUP = options.get("group", app.GROUP)
    settings = ProcessorSettings(
        instance=options.get("instance", "probe"),
        bootstrap_servers=options["bootstrap"],
        warehouse=Address("127.0.0.1", 1, "none"),
        topics=Topics(options["prefix"]),
        session_timeout_s=6.0,
    )
    worker = NotingWorker(options)
    if options.get("hangs"):
        worker.hang()
        report = Report("monitor", "probe")
        report.heartbeat = worker.heartbeat
        watchdog.CHECK_S = 0.2
        dog = watchdog.Watchdog(report, timeouts=watchdog.StallTimeouts(unhealthy_s=1.5, stuck_s=4.0))
        Endpoint(settings, report, dog.health).start()
        dog.start()
    return app.run_app(settings, worker)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
