"""KLL sketches (k = 200) of a minute with datasketches, for the peers without sketches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import datasketches
import msgspec
import numpy as np

from benchmarks.measured_process import Clock, JsonObject
from benchmarks.peers.child import MINUTE_MS, RANKS, print_result

K = 200

Row = tuple[int, tuple[float, ...]]
"""Event time in ms, numbers."""


class Minute:
    """The sketches of one minute."""

    __slots__ = ("n", "sketches")

    def __init__(self, n_numbers: int) -> None:
        self.sketches = [datasketches.kll_floats_sketch(K) for _ in range(n_numbers)]
        self.n = 0

    def add_rows(self, numbers: Iterable[Sequence[float]]) -> None:
        """Add many events; `numbers` has one sequence per event."""
        for sketch, column in zip(self.sketches, zip(*numbers, strict=True), strict=True):
            values = np.array(column, dtype=np.float32)
            # Sketching sorted values takes a third of the time, and sorting is cheap.
            values.sort()
            sketch.update(values)
        self.n += len(values)

    def merge(self, other: Minute) -> None:
        self.n += other.n
        for own, theirs in zip(self.sketches, other.sketches, strict=True):
            own.merge(theirs)


class Minutes:
    """The events of a program in sketches of minutes, by start (Unix ms), and the clock of the program."""

    def __init__(self, parameters: JsonObject) -> None:
        self.numbers: list[str] = parameters["numbers"]
        self.n_minutes: int = parameters["minutes"]
        self.events = 0
        self.by_start: dict[int, Minute] = {}
        self.clock: Clock | None = None
        self._row = row_decoder(self.numbers)

    def decode(self, data: bytes) -> Row:
        """Decode an event, the first of which starts the clock."""
        if self.clock is None:
            self.clock = Clock()
        return self._row(data)

    def new(self) -> Minute:
        return Minute(len(self.numbers))

    def at(self, at_ms: int) -> Minute:
        """The minute of an event time."""
        start = at_ms - at_ms % MINUTE_MS
        minute = self.by_start.get(start)
        if minute is None:
            minute = self.by_start[start] = self.new()
        return minute

    def add_batch(self, rows: Sequence[Row]) -> None:
        """Sketch events in order of time, and end the program if a minute after the requested ones has begun."""
        self.events += len(rows)
        for start, subset in by_minute(rows).items():
            self.at(start).add_rows(row[1] for row in subset)
        if len(self.by_start) > self.n_minutes:
            self.end()

    def end(self) -> None:
        """Print quantiles of all requested minutes together and the number of events per minute; end the process.

        A regular shutdown would wait for the consumer group, or continue to the end of the topic.
        """
        assert self.clock is not None
        spent = self.clock.read()
        starts = sorted(self.by_start)[: self.n_minutes]
        whole = self.new()
        for start in starts:
            whole.merge(self.by_start[start])
        result = {
            "events": self.events,
            "minutes": {str(start): self.by_start[start].n for start in starts},
            "ranks": RANKS,
            "rank_error": float(whole.sketches[0].normalized_rank_error(False)),
            "quantiles": {
                name: list(map(float, sketch.get_quantiles(RANKS, True)))
                for name, sketch in zip(self.numbers, whole.sketches, strict=True)
            },
        }
        print_result({**result, **spent})
        os._exit(0)


def by_minute(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Group events by the start of their minute (Unix ms)."""
    result: dict[int, list[Row]] = {}
    for row in rows:
        start = row[0] - row[0] % MINUTE_MS
        subset = result.get(start)
        if subset is None:
            subset = result[start] = []
        subset.append(row)
    return result


def row_decoder(numbers: Sequence[str]) -> Callable[[bytes], Row]:
    """Return a function that decodes JSON events with msgspec, into a struct with only the sketched fields."""
    features = [name for name in numbers if name != "score"]
    inner: Any = msgspec.defstruct("Features", [(name, float) for name in features], gc=False)
    outer: Any = msgspec.defstruct("Event", [("at", int), ("features", inner), ("score", float)], gc=False)
    decode = msgspec.json.Decoder(outer).decode
    of_numbers = attrgetter(*(f"features.{name}" for name in features), "score")

    def row(data: bytes) -> Row:
        event = decode(data)
        return event.at, of_numbers(event)

    return row
