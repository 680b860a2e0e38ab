"""Topics and DataFrames for the sketcher and its peers, and single measurements with their comparisons."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import harmonic_mean
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from benchmarks.floors import faust_loop
from benchmarks.measured_process import JsonObject
from benchmarks.peers.barograph_result import read_result
from benchmarks.peers.child import MINUTE_MS
from benchmarks.peers.compare import compare
from benchmarks.peers.environments import run
from benchmarks.peers.topic_contents import TopicContents
from benchmarks.rates import rate, run_sketcher
from benchmarks.stack import Testbed
from benchmarks.workload import ARROW_HEADERS, ARROW_ROWS, Workload, arrow_messages, json_events

DATABASE = "peers"
PREFIX, ARROW_PREFIX = "peers-", "peers-arrow-"
MINUTES = 10
"""Whole minutes of event time over which the events of a topic are spread."""
FRAMES = 3
"""How many of these minutes are also DataFrames."""
ARROW_TIMES = 3
"""Ratio of events between the topics of Arrow batches and of JSON; Arrow is read faster."""
SKETCHER, ARROW, EMPTY = "sketcher, JSON", f"sketcher, Arrow batches of {ARROW_ROWS:,}", "Faust, empty loop"


class Peer(NamedTuple):
    name: str
    """Its folder."""
    title: str
    minutes: int
    """How many minutes of the topic it processes; slow peers process fewer."""
    brief: bool = True
    """Whether it is measured even if there is only one run."""


@dataclass(frozen=True)
class Topic:
    """A topic for the sketcher and its contents."""

    prefix: str
    events: int
    contents: TopicContents
    partials: str


class PeerBenchmark:
    """The topics, the DataFrames and all results so far."""

    def __init__(self, testbed: Testbed, workload: Workload, events: int) -> None:
        self._testbed, self._workload = testbed, workload
        first_ms = (int(time.time() * 1000) // MINUTE_MS - MINUTES - 1) * MINUTE_MS
        span = first_ms, first_ms + MINUTES * MINUTE_MS - 1
        self._events = testbed.folder / "peers-events.json"
        with self._events.open("wb") as file:
            lines = _written(json_events(workload, events, *span), file)
            self.json = self._fill(PREFIX, events, TopicContents.record, lines)
        n = ARROW_TIMES * events
        messages = arrow_messages(workload, n, *span)
        self.arrow = self._fill(ARROW_PREFIX, n, TopicContents.record_batches, messages, ARROW_HEADERS)
        starts = list(self.json.contents.minutes())
        self._frame, self._reference = testbed.folder / "peers-frame.npz", testbed.folder / "peers-reference.npz"
        self.json.contents.write(self._frame, starts[:FRAMES])
        np.savez(self._reference, **_training(testbed.folder, workload))
        self._rates: list[tuple[str, float]] = []
        """Title and events per CPU-second of each measurement, in order."""
        self.compared: dict[str, str] = {}
        """Title → description of the errors of its results."""

    def _fill(self, prefix: str, events: int, record: Any, messages: Iterator[bytes], headers: Any = None) -> Topic:
        topics, contents = self._testbed.create_topics(prefix), TopicContents(self._workload.numbers)
        self._testbed.fill(topics.predictions, record(contents, messages), headers)
        return Topic(prefix, events, contents, topics.partials)

    def sketch(self, title: str, topic: Topic) -> None:
        """Run a new sketcher on a topic from its start, and compare its committed partials."""
        testbed = self._testbed
        begin = testbed.end_offset(topic.partials)
        result = run_sketcher(testbed, self._workload, topic.prefix, topic.events, database=DATABASE)
        self._append(
            title, result, compare(read_result(testbed, self._workload, topic.partials, begin), topic.contents)
        )

    def empty_loop(self) -> None:
        """Run Faust's empty loop on the events of a minute."""
        result = self._testbed.run_child(
            faust_loop,
            topic=f"{PREFIX}predictions",
            messages=self.json.events // MINUTES,
            group=f"empty-{uuid.uuid4().hex[:8]}",
        )
        self._append(EMPTY, result, None)

    def measure(self, peer: Peer) -> None:
        """Run the program of a peer and compare its result."""
        parameters = {
            "numbers": self.json.contents.numbers,
            "minutes": peer.minutes,
            "bootstrap_servers": self._testbed.bootstrap_servers,
            "topic": f"{PREFIX}predictions",
            "events": str(self._events),
            "edges": {field.name: field.edges for field in self._workload.baseline.fields},
            "group": f"{peer.name}-{uuid.uuid4().hex[:8]}",
            "folder": str(self._testbed.folder),
            "frame": str(self._frame),
            "reference": str(self._reference),
        }
        result = run(peer.name, parameters)
        # Evidently reports PSI instead of quantiles, on bins of its own.
        self._append(peer.title, result, None if "psi" in result else compare(result, self.json.contents))

    def rates(self, title: str) -> list[float]:
        """Events per CPU-second of each run of a program."""
        return [result for name, result in self._rates if name == title]

    def ratios(self, over: str, under: str) -> list[float]:
        """For each run of `under`, the rate of `over` in the runs before and after it, divided by its own rate."""
        ratios = []
        for at, (title, own) in enumerate(self._rates):
            if title == under:
                before = next(other for name, other in reversed(self._rates[:at]) if name == over)
                after = next(other for name, other in self._rates[at + 1 :] if name == over)
                ratios.append(harmonic_mean([before, after]) / own)
        return ratios

    def _append(self, title: str, result: JsonObject, compared: str | None) -> None:
        self._rates.append((title, rate(result)))
        # Keep the first wrong comparison, otherwise the last one.
        before = self.compared.get(title)
        if compared is not None and (before is None or "WRONG" not in before):
            self.compared[title] = compared


def _written(events: Iterator[bytes], file: BinaryIO) -> Iterator[bytes]:
    """Pass events through and write each to a line of the file."""
    for event in events:
        file.write(event + b"\n")
        yield event


def _training(folder: Path, workload: Workload) -> dict[str, Any]:
    """The training table of the baseline, numbers as doubles."""
    table = pq.read_table(folder / f"train-{len(workload.numbers)}-{len(workload.texts)}.parquet")
    return {name: table[name].to_numpy().astype(np.float64) for name in (*workload.numbers, "score")}
