"""Sketcher and recorder as measured processes, with CPU time and memory at each commit.

They are assembled as in `streams.run`, without endpoint and watchdog.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.sketcher.summarise import FlushSummaries
from benchmarks.measured_process import Clock, JsonObject, memory_mib
from benchmarks.production import hide_pandas, make_settings

SHORTEST_SESSION_S = 6.0
"""The minimum that a broker allows by default."""


def sketcher(parameters: JsonObject) -> JsonObject:
    """Run the sketcher until it has committed a number of events or the stop file exists."""
    from barograph_server.streams.sketcher.sketcher import Sketcher

    with _MeasuredProcessor(parameters, "sketcher") as running:
        summaries = FlushSummaries(running.registry())
        for columns in JsonDecoder(running.registry()).decode(_batch(parameters["warm"])).events:
            summaries.add(columns)
        process = Sketcher(running.settings, running.registry, running.report)
        running.begin()
        if parameters.get("profile"):
            _profiled(lambda: process.run(running.stop), Path(parameters["profile"]))
        else:
            process.run(running.stop)
    return running.result()


def recorder(parameters: JsonObject) -> JsonObject:
    """Run the recorder until the stop file exists."""
    from barograph_server.streams.recorder.json_rows import JsonRows
    from barograph_server.streams.recorder.recorder import Recorder

    with _MeasuredProcessor(parameters, "recorder") as running:
        JsonRows(running.registry()).rows(_batch(parameters["warm"]))
        process = Recorder(running.settings, running.registry, running.report)
        running.begin()
        process.run(running.stop)
    return running.result()


class _MeasuredProcessor:
    """The settings, registry and report of a measured processor, and a sample at each commit."""

    def __init__(self, parameters: JsonObject, kind: str) -> None:
        hide_pandas()
        from barograph_server.streams.registry.poller import RegistryPoller
        from barograph_server.streams.runtime.lifecycle import configure_logging
        from barograph_server.streams.runtime.metrics_report import Report, ReportWriter

        configure_logging("warning")
        self.stop = threading.Event()
        self._samples: list[JsonObject] = []
        self._parameters = parameters
        self._clock = Clock()
        add_sample = self._add_sample

        class SamplingReport(Report):
            def count_committed(self, events: int, outcome: str, dead_letters: Mapping[str, int] | None = None) -> None:
                super().count_committed(events, outcome, dead_letters)
                add_sample(self.events + self.dead_letters)

        self.report: Report = SamplingReport(kind, parameters.get("instance", "benchmark"))
        # A static member stays in its group until its session times out, and the next run waits for that.
        self.settings = make_settings(parameters, SHORTEST_SESSION_S)
        self._source = RegistryPoller(self.settings.warehouse, self.settings.registry_poll_s, counting_only=True)
        self.registry = self._source.current
        self._reporter = ReportWriter(self.report, self.settings.warehouse, self.settings.report_s)

    def __enter__(self) -> _MeasuredProcessor:
        self._source.start()
        self._reporter.start()
        threading.Thread(target=self._watch_stop_file, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._source.stop()
        self._reporter.stop()

    def begin(self) -> None:
        """Start the clock."""
        self._clock = Clock()

    def _add_sample(self, events: int) -> None:
        rss, peak = memory_mib()
        self._samples.append(
            {"events": events, **self._clock.read(), "at": time.time(), "rss_mib": rss, "peak_mib": peak}
        )
        if self._parameters.get("events") and events >= self._parameters["events"]:
            self.stop.set()

    def result(self) -> JsonObject:
        """The sample of the last commit with events, and all samples."""
        if self.report.dead_letters:
            raise RuntimeError(
                f"the processor dead-lettered {self.report.dead_letters} events, so that the figures are invalid"
            )
        last = next(s for s in self._samples if s["events"] == self._samples[-1]["events"])
        return {**last, "samples": self._samples}

    def _watch_stop_file(self) -> None:
        while not self.stop.is_set():
            if Path(self._parameters["stop"]).exists():
                self.stop.set()
            time.sleep(0.05)


def _batch(event: str) -> MessageBatch:
    """A batch of one event, to warm up: imports at the first use of libraries do not count."""
    now_ms = np.array([time.time_ns() // 1_000_000])
    return MessageBatch([event.encode()], np.zeros(1, np.int32), np.zeros(1, np.int64), now_ms)


def _profiled(work: Callable[[], None], path: Path) -> None:
    import cProfile
    import pstats

    profile = cProfile.Profile()
    profile.runcall(work)
    with path.open("w", encoding="utf-8") as out:
        pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(40)
