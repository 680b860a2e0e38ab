"""Processors as child processes with the packages of production only, measured from outside or by themselves.

`run_processor` runs one as in production. `sketcher` and `recorder` are assembled as in `streams.run`, without endpoint
and watchdog, and sample CPU time and memory at each commit.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measured_process import PASSWORD_VARIABLE, Clock, JsonObject, sample_process

if TYPE_CHECKING:
    from barograph_server.streams.events.batch import MessageBatch
    from barograph_server.streams.settings import ProcessorSettings

SESSION_S = 45.0
SHORTEST_SESSION_S = 6.0
"""The minimum that a broker allows by default."""


class _WithoutPandas:
    """Makes later imports of pandas fail, because only the development environment contains it.

    If it is installed, pyarrow imports it with the first array, which costs up to 0.9 s of CPU and 50 MB.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _production_settings(parameters: JsonObject, session_timeout_s: float) -> ProcessorSettings:
    """Hide pandas, and return the settings of a processor."""
    sys.meta_path.insert(0, _WithoutPandas())
    from barograph_server.streams.settings import ProcessorSettings
    from barograph_server.streams.topics import Topics
    from barograph_server.warehouse.client import Address

    return ProcessorSettings(
        instance=parameters.get("instance", "benchmark"),
        bootstrap_servers=parameters["bootstrap_servers"],
        warehouse=Address(
            parameters["host"], parameters["port"], parameters["database"], password=os.environ[PASSWORD_VARIABLE]
        ),
        topics=Topics(parameters["prefix"]),
        session_timeout_s=session_timeout_s,
        **{name: parameters[name] for name in ("clock", "flush_s", "flush_events", "native") if name in parameters},
    )


# --------------------------------------------------------------------------------------------------- as in production


def run_processor(parameters: JsonObject) -> JsonObject:
    """Run a processor of a kind until it is terminated."""
    settings = _production_settings(parameters, SESSION_S)
    from barograph_server.streams import run

    if parameters.get("until") is not None:
        _log_when_reached(parameters["until"])
    kind = parameters["kind"]
    if kind == "otlp":
        from barograph_server.streams.otlp.run import run_otlp
        from barograph_server.streams.otlp.settings import OtlpSettings

        otlp = OtlpSettings(port=parameters["otlp_port"], grpc_port=0, wait_s=parameters["wait_s"])
        return {"status": run_otlp(settings, otlp)}
    work = {"sketcher": run.run_sketcher, "monitor": run.run_monitor, "recorder": run.run_recorder}[kind]
    return {"status": int(work(settings))}


def _log_when_reached(until: int) -> None:
    """Make the monitor's worker log `reached` once it has processed the last record before an offset."""
    import structlog

    from barograph_server.streams.monitor.worker import IncomingRecord, Worker

    handle = Worker.handle
    is_logged = False

    def handle_and_log(self: Worker, record: IncomingRecord) -> int:
        nonlocal is_logged
        durable = handle(self, record)
        if not is_logged and record.offset >= until - 2:
            is_logged = True
            structlog.get_logger().info("reached", offset=record.offset)
        return durable

    Worker.handle = handle_and_log  # type: ignore[method-assign]


# --------------------------------------------------------------------------------------------------- with samples


def sketcher(parameters: JsonObject) -> JsonObject:
    """Run the sketcher until it has committed a number of events or the stop file exists."""
    from barograph_server.streams.events.json_decoder import JsonDecoder
    from barograph_server.streams.sketcher import decode_batch, sketcher
    from barograph_server.streams.sketcher.summarise import FlushSummaries

    if "batch" in parameters:
        sketcher.POLL_MESSAGES = sketcher.NATIVE_POLL_MESSAGES = parameters["batch"]
        decode_batch.REPLAY_BATCH_MESSAGES = parameters["batch"]
    with _running(parameters, "sketcher") as own:
        summaries = FlushSummaries(own.registry())
        for columns in (
            JsonDecoder(own.registry(), native=own.settings.native).decode(_batch(parameters["warm"])).events
        ):
            summaries.add(columns)
        own.run(sketcher.Sketcher(own.settings, own.registry, own.report))
    return own.result()


def recorder(parameters: JsonObject) -> JsonObject:
    """Run the recorder until the stop file exists."""
    from barograph_server.streams.recorder.json_rows import JsonRows
    from barograph_server.streams.recorder.recorder import Recorder

    with _running(parameters, "recorder") as own:
        JsonRows(own.registry(), native=own.settings.native).rows(_batch(parameters["warm"]))
        own.run(Recorder(own.settings, own.registry, own.report))
    return own.result()


@contextmanager
def _running(parameters: JsonObject, kind: str) -> Iterator[_MeasuredProcessor]:
    """A measured processor while its registry and its report follow the tables."""
    # A static member stays in its group until its session times out, and the next run waits for that.
    settings = _production_settings(parameters, SHORTEST_SESSION_S)
    from barograph_server.streams.registry.poller import RegistryPoller
    from barograph_server.streams.runtime.lifecycle import configure_logging
    from barograph_server.streams.runtime.metrics_report import ReportWriter

    configure_logging("warning")
    source = RegistryPoller(settings.warehouse, settings.registry_poll_s, counting_only=True)
    own = _MeasuredProcessor(parameters, settings, source.current, kind)
    writer = ReportWriter(own.report, settings.warehouse, settings.report_s)
    source.start()
    writer.start()
    try:
        yield own
    finally:
        source.stop()
        writer.stop()


class _MeasuredProcessor:
    """A processor's settings, registry and report, and its samples at each commit."""

    def __init__(self, parameters: JsonObject, settings: ProcessorSettings, registry: Any, kind: str) -> None:
        from barograph_server.streams.runtime.metrics_report import Report

        self.settings, self.registry = settings, registry
        self._parameters, self._stop, self._clock = parameters, threading.Event(), Clock()
        self._samples: list[JsonObject] = []
        add_sample = self._add_sample

        class SamplingReport(Report):
            def count_committed(self, events: int, outcome: str, dead_letters: Mapping[str, int] | None = None) -> None:
                super().count_committed(events, outcome, dead_letters)
                add_sample(self.events + self.dead_letters)

        self.report: Report = SamplingReport(kind, settings.instance)

    def run(self, processor: Any) -> None:
        """Start the clock, and run a processor until it is done."""
        threading.Thread(target=self._watch_stop_file, daemon=True).start()
        self._clock = Clock()
        processor.run(self._stop)

    def _add_sample(self, events: int) -> None:
        memory = sample_process()._asdict()
        self._samples.append({**memory, "events": events, **self._clock.read(), "at": time.time()})
        if self._parameters.get("events") and events >= self._parameters["events"]:
            self._stop.set()

    def result(self) -> JsonObject:
        """The sample of the last commit with events, and all samples."""
        if self.report.dead_letters:
            raise RuntimeError(
                f"the processor dead-lettered {self.report.dead_letters} events, so that the figures are invalid"
            )
        last = next(s for s in self._samples if s["events"] == self._samples[-1]["events"])
        return {**last, "samples": self._samples}

    def _watch_stop_file(self) -> None:
        while not self._stop.is_set():
            if Path(self._parameters["stop"]).exists():
                self._stop.set()
            time.sleep(0.05)


def _batch(event: str) -> MessageBatch:
    """A batch of one event, to warm up: imports at the first use of libraries do not count."""
    import numpy as np

    from barograph_server.streams.events.batch import MessageBatch

    now_ms = np.array([time.time_ns() // 1_000_000])
    return MessageBatch([event.encode()], np.zeros(1, np.int32), np.zeros(1, np.int64), now_ms)
