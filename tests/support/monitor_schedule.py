"""Random histories of the topic `partials`, and a monitor that reads them while processes crash and are superseded.

The sketcher's own code makes the records from random events, flushes and losses.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Field, Slice, Slo, Window
from barograph.events import Reason

from barograph_server.sketches.baseline.baseline import (
    QUANTILE_RANKS,
    Baseline,
    FieldBaseline,
    SliceCounts,
    SliceValues,
)
from barograph_server.streams.events.batch import RejectedEvent
from barograph_server.streams.events.columns import (
    EventColumns,
    ProducerArrivals,
    encode_names,
    encode_versions,
    producer_arrivals,
)
from barograph_server.streams.monitor.partition import MAX_PENDING_VERDICTS, Pace, PartitionState
from barograph_server.streams.monitor.state.pane_cache import PANE_BUDGET_BYTES
from barograph_server.streams.monitor.state.store import ROWS_PER_LOAD, WarehouseStore
from barograph_server.streams.monitor.windows import described_every_s
from barograph_server.streams.records import (
    OffsetRange,
    Partial,
    PartitionProgress,
    Progress,
    Record,
    Tally,
    decode,
    encode,
)
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from barograph_server.streams.tallies import encode_tally
from tests.support.memory_warehouse import MemoryWarehouse

SLOW_MS = 100.0
CLOSING_FLUSHES = 5
"""Flushes after the last event, half a day apart, so that the day of that event is over."""
T0_S = 1_790_013_600
"""A multiple of 1, 2, 3 and 6 hours; a day ends six hours later."""
TOPIC, PARTIALS_TOPIC = "source-topic", "parts-topic"
LOW, HIGH = -1.5, 2.0
COLOURS = ("red", "green", "blue")
CONTROL = "a"
"""Arm of the events without an arm; few histories have a slice for it."""


@dataclass(frozen=True)
class Event:
    model: str
    version: str
    at_ms: int
    received_ms: int
    x: float | None
    colour: str | None
    region: str
    failed: bool
    arm: str | None = None
    kind: str = "TimeoutError"
    latency_ms: float | None = None
    producer: str | None = None
    seq: int = -1


@dataclass
class History:
    registry: Registry
    live: bool
    records: list[tuple[int, Record]] = field(default_factory=list)
    counted: list[Event] = field(default_factory=list)
    lost: int = 0
    dead: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """Dead letters by model, reason and hour of receipt."""
    on_time: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Events that were not late by model and start of their pane, on which windows of the last events depend."""


def contract(model: str, pane_s: int) -> Contract:
    windows: tuple[Window, ...] = (Window(3 * 3600, 3600), Window(6 * 3600, 3 * 3600))
    if pane_s < 3600:
        windows = (Window(2 * pane_s, pane_s), Window(2 * 3600, 3600), Window(4 * 3600, 2 * 3600))
    return Contract(
        model=model,
        pane_s=pane_s,
        lateness_s=600,
        out_of_order_s=600,
        windows=windows,
        slice_min_n=1,
        fields=(
            Field(name="x", type="float", source="features.x", low=LOW, high=HIGH, nulls="refuse", policy="reject"),
            Field(name="colour", type="category", source="features.colour"),
        ),
        slices=(
            Slice(name="region", source="context.region", sketches=("x",)),
            Slice(name="arm", source="arm", values=("b",)),
        ),
        slo=Slo(latency_ms=SLOW_MS),
    )


def baseline(model: str, version: str, shift: float = 0.0) -> Baseline:
    def counts(*cells: int) -> dict[str, SliceCounts]:
        north = tuple(c // 2 for c in cells)
        south = tuple(c - n for c, n in zip(cells, north, strict=True))
        none = (0,) * len(cells)
        of_slice = {"all": cells, "region=north": north, "region=other": south, "arm=b": none, "arm=other": none}
        return {name: SliceCounts(cells=each) for name, each in of_slice.items()}

    return Baseline(
        model=model,
        version=version,
        rows=1000,
        slice_rows={"all": 1000, "region=north": 500, "region=other": 500, "arm=b": 0, "arm=other": 0},
        dimensions=(
            SliceValues(name="region", source="context.region", values=("north",), trained=True),
            SliceValues(name="arm", source="arm", values=("b",), trained=False),
        ),
        fields=(
            FieldBaseline(
                name="x",
                kind="numeric",
                edges=(-0.5 + shift, 0.5 + shift),
                low=LOW,
                high=HIGH,
                mean=0.25,
                std=1.0,
                quantiles=tuple((np.linspace(-3.0, 3.0, QUANTILE_RANKS) + shift).tolist()),
                slices=counts(300, 360, 240, 100),
            ),
            FieldBaseline(name="colour", kind="category", categories=COLOURS[:2], slices=counts(500, 400, 60, 40)),
        ),
    )


def registered(model: str) -> RegisteredBaseline:
    first = baseline(model, "1")
    return RegisteredBaseline(first, first.id, 0, 1)


def make_registry(rng: random.Random, models: list[str], pane_s: int) -> Registry:
    entries = []
    for model in models:
        entries.append(registered(model))
        if rng.random() < 0.4:
            later = baseline(model, "1", shift=0.25)
            entries.append(RegisteredBaseline(later, later.id, T0_S + rng.randrange(2, 6) * 3600, 2))
    applied_ms = (T0_S + rng.choice([-7200, 0, 5000])) * 1000
    return build_registry([(contract(model, pane_s), applied_ms) for model in models], entries)


def make_history(seed: int, change: Callable[[Registry], Registry] | None = None) -> History:
    """Return a random history at whose end every event can be sealed and every late one can revise its windows."""
    rng = random.Random(seed)
    live = rng.random() < 0.5
    models = ["a", "b"][: rng.choice([1, 1, 2])]
    registry = make_registry(rng, models, rng.choice([3600, 1200]))
    if change is not None:
        registry = change(registry)
    return _HistoryWriter(rng, registry, models, live).write()


class _HistoryWriter:
    def __init__(self, rng: random.Random, registry: Registry, models: list[str], live: bool) -> None:
        self.rng, self.registry, self.models = rng, registry, models
        self.history = History(registry, live)
        self.n_partitions = rng.choice([1, 2, 3])
        self.log: list[list[Event]] = [[] for _ in range(self.n_partitions)]
        self.start = [0] * self.n_partitions
        self.begun: set[int] = set()
        self.now_s = T0_S
        self.offset = 0
        self.loses = rng.random() < 0.5
        self.grows = live and rng.random() < 0.3
        self.max_delay_s = rng.choice([0, 900, 7200, 8 * 3600])
        self.signals = random.Random(rng.random())
        """Draws the other values of events, independently of their times and flushes."""
        self.seqs: Counter[tuple[str, str]] = Counter()

    def write(self) -> History:
        rng = self.rng
        hours = rng.choice([2, 4, 7])
        pace_s = hours * 3600 / rng.choice([10, 25, 45])
        idle = rng.choice([None, 0])
        while self.now_s < T0_S + hours * 3600:
            for _ in range(rng.choice([0, 1, 3, 6])):
                p = rng.randrange(self.n_partitions)
                if p != idle or rng.random() < 0.1:
                    self.log[p].append(self.event())
            self.now_s += round(pace_s * rng.choice([0, 0.5, 1, 1, 2, 8 if rng.random() < 0.1 else 1]))
            if self.grows and self.n_partitions < 4 and rng.random() < 0.05:
                self.n_partitions += 1
                self.log.append([])
                self.start.append(0)
            if rng.random() < 0.6:
                self.flush(rng.sample(range(self.n_partitions), rng.randint(1, self.n_partitions)))
        for i in range(CLOSING_FLUSHES):
            self.now_s += 12 * 3600
            self.flush(list(range(self.n_partitions)), last=i == 0, reaches_end=i == CLOSING_FLUSHES - 1)
        return self.history

    def event(self) -> Event:
        rng, signals = self.rng, self.signals
        delay_s = rng.randrange(self.max_delay_s + 1) if rng.random() < 0.25 else rng.randrange(60)
        model, producer = rng.choice(self.models), signals.choice(["p", "q", None])
        self.seqs[model, str(producer)] += signals.choice([1, 1, 1, 2, 5])
        return Event(
            model,
            "1" if rng.random() < 0.9 else "unheard-of",
            (self.now_s - delay_s) * 1000 + rng.randrange(1000),
            self.now_s * 1000 + 999 if self.history.live else (T0_S + 90 * 86_400) * 1000,
            None if rng.random() < 0.1 else rng.gauss(0.3, 1.0),
            rng.choice([*COLOURS, None]),
            rng.choice(["north", "south"]),
            rng.random() < 0.1,
            signals.choice(["a", "b", None]),
            signals.choice(["TimeoutError", "ValueError", "ConnectionError"]),
            signals.choice([None, 1.0, 99.0, SLOW_MS, 100.5, 900.0]),
            producer,
            self.seqs[model, str(producer)] - 1,
        )

    def flush(self, partitions: list[int], *, last: bool = False, reaches_end: bool = False) -> None:
        """Read some partitions up to a random offset, or with `last` to their ends.

        Whether a flush knows that a partition is read to its end is random too, but the last one must: until then, no
        pane after the last event is sealed.
        """
        rng = self.rng
        summaries = FlushSummaries(self.registry)
        ranges, reads = [], []
        for p in sorted(partitions):
            # Offsets before a partition's first range precede its offset ledger and are no loss.
            if self.loses and p in self.begun and self.start[p] < len(self.log[p]) and rng.random() < 0.2:
                n_lost = rng.randint(1, len(self.log[p]) - self.start[p])
                self.start[p] += n_lost
                self.history.lost += n_lost
            self.begun.add(p)
            reads_all = last or rng.random() < 0.7
            start, end = self.start[p], len(self.log[p])
            if not reads_all:
                end = rng.randint(start, end)
            events = self.log[p][start:end]
            self.start[p] = end
            self.history.counted += events
            for model in self.models:
                own = [(start + i, event) for i, event in enumerate(events) if event.model == model]
                if own:
                    summaries.add(columns(model, p, own))
                    for arrived in numbered(model, [event for _, event in own]):
                        summaries.add_arrivals(arrived)
            newest: dict[str, int] = {}
            for event in events:
                clipped = min(event.at_ms, event.received_ms)
                newest[event.model] = max(newest.get(event.model, clipped), clipped)
            ended = not self.history.live and last
            caught_up = end == len(self.log[p]) and (rng.random() < 0.9 or reaches_end)
            ranges.append(OffsetRange(p, start, end))
            reads.append(
                PartitionProgress(
                    partition=p,
                    start=start,
                    end=end,
                    newest_ms=newest,
                    oldest_ms=min((event.at_ms for event in events), default=None),
                    end_mark=ended,
                    caught_up_at_ms=self.now_s * 1000 if caught_up else None,
                )
            )
        covered = [r for r in ranges if r.end > r.start]
        for key, pane in summaries.panes.items():
            for data in encode_partials(key, pane, TOPIC, covered):
                self.append(data)
        for tally in summaries.tallies.tallies("predictions", TOPIC, covered, self.dead() if covered else []):
            for data in encode_tally(tally):
                self.append(data)
        progress = Progress(
            source_topic_id=TOPIC, source_partitions=self.n_partitions, counted_at_ms=self.now_s * 1000, ranges=reads
        )
        self.append(encode(progress))
        self.offset += 1  # the transaction's marker

    def dead(self) -> list[RejectedEvent]:
        rejected = []
        for _ in range(self.signals.choice([0, 0, 1, 3])):
            model = self.signals.choice([*self.models, ""])
            reason = self.signals.choice([Reason.NOT_JSON, Reason.BAD_TIME])
            rejected.append(RejectedEvent(reason, 0, 0, 0, b"", "", model, self.now_s * 1000))
            self.history.dead[model, reason, self.now_s // 3600 * 3600] += 1
        return rejected

    def append(self, data: bytes) -> None:
        self.history.records.append((self.offset, decode(data)))
        self.offset += 1


def columns(model: str, partition: int, events: list[tuple[int, Event]]) -> EventColumns:
    predictions = [event for _, event in events]
    versions, code = encode_versions([event.version for event in predictions])
    n = len(predictions)
    x, latency_ms = (
        np.array([np.nan if getattr(event, name) is None else getattr(event, name) for event in predictions])
        for name in ("x", "latency_ms")
    )
    colour, region = (pa.array([getattr(e, name) for e in predictions], pa.string()) for name in ("colour", "region"))
    arm = pa.array([event.arm or CONTROL for event in predictions], pa.string())
    return EventColumns(
        model,
        np.array([event.at_ms for event in predictions], dtype=np.int64),
        np.array([event.received_ms for event in predictions], dtype=np.int64),
        np.full(n, partition, dtype=np.int32),
        np.array([offset for offset, _ in events], dtype=np.int64),
        np.zeros(n, dtype=np.int32),
        versions,
        code,
        np.array([event.failed for event in predictions], dtype=bool),
        {"features.x": x, "score": x, "latency_ms": latency_ms},
        {"class": colour, "features.colour": colour, "context.region": region, "arm": arm},
        encode_names([event.kind if event.failed else None for event in predictions]),
    )


def numbered(model: str, events: list[Event]) -> Iterator[ProducerArrivals]:
    return producer_arrivals(
        model,
        np.array([event.at_ms for event in events], dtype=np.int64),
        encode_names([event.producer for event in events]),
        np.array([event.seq for event in events], dtype=np.int64),
    )


class Crash(Exception):
    """The process died."""


class Connection:
    """A process's connection: an insert takes effect at once or later, or the process dies during it.

    Before each read, delayed inserts of other processes may take effect.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.warehouse = run, run.warehouse
        self.database = run.warehouse.database
        self.inserts_left: int | None = None
        self.late: deque[tuple[str, pa.Table]] | None = None
        self.undecided: tuple[str, pa.Table] | None = None

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        self.run.land_some()
        return self.warehouse.rows(sql, parameters)

    def arrow(self, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        self.run.land_some()
        return self.warehouse.arrow(sql, parameters)

    def insert(self, table: str, rows: pa.Table) -> None:
        if self.inserts_left is not None:
            if self.inserts_left == 0:
                self.undecided = table, rows
                raise Crash
            self.inserts_left -= 1
        if self.late is not None:
            self.late.append((table, rows))
        else:
            self.warehouse.insert(table, rows)


class Process:
    def __init__(self, run: Run) -> None:
        self.connection = Connection(run)
        self.next = run.acknowledged
        self.store = WarehouseStore(self.connection, run.rows_per_load)  # type: ignore[arg-type]
        pace = Pace(
            run.history.live,
            revise_s=run.revise_s,
            budget_bytes=run.budget_bytes,
            max_pending_verdicts=run.max_pending_verdicts,
        )
        self.state = PartitionState(
            0,
            (PARTIALS_TOPIC, 1),
            self.store,
            lambda: run.history.registry,
            pace,
            write_early=self.store.write if run.writes_early else None,
            clock=lambda: run.now_s,
        )

    def step(self, run: Run) -> int | None:
        """Handle the next record; return the offset up to which records may be acknowledged."""
        offset, record = run.history.records[self.next]
        self.next += 1
        if isinstance(record, Partial | Tally):
            state = self.state
            rejected = (
                state.merge_partial(record, offset) if isinstance(record, Partial) else state.add_tally(record, offset)
            )
            assert rejected is None, rejected
            return None
        commit, durable = self.state.apply_progress(record, offset)
        if commit is None:
            return None
        self.store.write(commit)
        return durable


@dataclass
class Run:
    history: History
    rng: random.Random
    crashes: float = 0.0
    """Probability of a mishap at each step."""
    budget_bytes: int = PANE_BUDGET_BYTES
    rows_per_load: int = ROWS_PER_LOAD
    revise_s: float = 60.0
    writes_early: bool = False
    """Whether many verdicts are written ahead of the rest of their commit."""
    max_pending_verdicts: int = MAX_PENDING_VERDICTS
    warehouse: MemoryWarehouse = field(default_factory=MemoryWarehouse)
    acknowledged: int = 0
    """Index of the first record that is not acknowledged."""
    now_s: float = 2_000_000_000.0
    mishaps: Counter[str] = field(default_factory=Counter)
    zombies: list[Process] = field(default_factory=list)
    """Superseded processes that do not know it yet."""
    in_flight: list[tuple[str, pa.Table]] = field(default_factory=list)
    """Inserts whose process died before the answer; they take effect at some time."""

    def to_the_end(self) -> MemoryWarehouse:
        owner = Process(self)
        while owner.next < len(self.history.records):
            self.now_s += self.rng.choice([0.1, 1, 5, 30])
            if self.next_is_final(owner):
                self.now_s += 2 * self.revise_s
            elif self.rng.random() < self.crashes:
                owner = self.mishap(owner)
                continue
            self.advance_others()
            try:
                durable = owner.step(self)
            except Crash:
                self.mishaps["crash while writing"] += 1
                assert owner.connection.undecided is not None
                if self.rng.random() < 0.5:
                    self.in_flight.append(owner.connection.undecided)
                owner = Process(self)
                continue
            if durable is not None:
                self.acknowledge(durable)
        for zombie in self.zombies:
            self.land(zombie, all_of_it=True)
        for table, rows in self.in_flight:
            self.warehouse.insert(table, rows)
        return self.warehouse

    def next_is_final(self, owner: Process) -> bool:
        return owner.next >= len(self.history.records) - 4

    def acknowledge(self, durable: int) -> None:
        records = self.history.records
        while self.acknowledged < len(records) and records[self.acknowledged][0] < durable:
            self.acknowledged += 1

    def mishap(self, owner: Process) -> Process:
        kind = self.rng.choice(["die", "die while writing", "die while writing", "superseded", "superseded"])
        if kind == "die while writing":
            owner.connection.inserts_left = self.rng.randrange(12)
            return owner
        self.mishaps[kind] += 1
        if kind == "superseded":
            owner.connection.late = deque()
            self.zombies.append(owner)
        return Process(self)

    def advance_others(self) -> None:
        for zombie in list(self.zombies):
            # A process continues only once its last insert was answered.
            if not zombie.connection.late and zombie.next < len(self.history.records) and self.rng.random() < 0.4:
                zombie.connection.inserts_left = None
                zombie.step(self)
            if self.rng.random() < 0.5:
                self.land(zombie)
            if self.rng.random() < 0.1:
                self.zombies.remove(zombie)
        if self.in_flight and self.rng.random() < 0.2:
            self.warehouse.insert(*self.in_flight.pop())

    def land_some(self) -> None:
        for zombie in self.zombies:
            if self.rng.random() < 0.2:
                self.land(zombie, all_of_it=self.rng.random() < 0.5)

    def land(self, zombie: Process, *, all_of_it: bool = False) -> None:
        queue = zombie.connection.late
        assert queue is not None
        for _ in range(len(queue) if all_of_it else min(len(queue), self.rng.randint(1, 3))):
            self.warehouse.insert(*queue.popleft())


def pane_of(history: History, event: Event) -> int:
    pane_s = history.registry.contracts[event.model].pane_s
    return event.at_ms // 1000 // pane_s * pane_s


def expected_volume(history: History, rounded_s: int = 1) -> Counter[tuple[str, str, str, int]]:
    """Count events by (model, version, slice, start of the pane, rounded down)."""
    return Counter(
        (event.model, event.version, name, pane_of(history, event) // rounded_s * rounded_s)
        for event in history.counted
        for name in slices_of(event)
    )


def expected_categories(history: History) -> Counter[tuple[str, str, str, int]]:
    """Count events with a color that no baseline has, by (model, version, color, start of the hour)."""
    return Counter(
        (event.model, event.version, event.colour, event.at_ms // 3_600_000 * 3600)
        for event in history.counted
        if event.colour == COLOURS[2]
    )


def slices_of(event: Event) -> list[str]:
    region = "region=north" if event.region == "north" else "region=other"
    return ["all", region, "arm=b" if event.arm == "b" else "arm=other"]


def expected_signals(history: History) -> dict[str, Counter[Any]]:
    """Count the other signals of events one by one, per table by the keys of its rows."""
    counts: dict[str, Counter[Any]] = {
        name: Counter() for name in ("failed", "timed", "slow", "errors", "producers", "violations")
    }
    for event in history.counted:
        pane = pane_of(history, event)
        for name in slices_of(event):
            key = event.model, event.version, name, pane
            counts["failed"][key] += event.failed
            counts["timed"][key] += event.latency_ms is not None
            counts["slow"][key] += event.latency_ms is not None and event.latency_ms > SLOW_MS
            if event.failed and not name.startswith("region="):
                counts["errors"][event.model, event.version, name, event.kind, pane] += 1
        if event.producer is not None:
            counts["producers"][event.model, event.producer, pane] += 1
        for kind, broken in (
            ("null", event.x is None),
            ("below", event.x is not None and event.x < LOW),
            ("above", event.x is not None and event.x > HIGH),
        ):
            counts["violations"][event.model, event.version, "x", kind, pane] += broken
    return counts


def windows_of(history: History, model: str, pane_start_s: int) -> Iterator[tuple[str, int]]:
    for window in history.registry.contracts[model].windows:
        for end in range(T0_S - 48 * 3600, T0_S + 100 * 3600, window.hop_s):
            if window_start_s(history, model, window, end) <= pane_start_s < end:
                yield window.name, end


def window_start_s(history: History, model: str, window: Window, end_s: int) -> int:
    """Go back from the end of a window to its start, pane by pane if it consists of the last events."""
    earliest_s = end_s - window.length_s
    if not window.last:
        return earliest_s
    pane_s = history.registry.contracts[model].pane_s
    start_s = end_s
    n = 0
    while n < window.last and start_s > earliest_s:
        start_s -= pane_s
        n += history.on_time[model, start_s]
    return start_s


def judged_until_s(history: History, model: str, name: str) -> int:
    """Return the last end of an ended history at which windows of one length are judged."""
    contract = history.registry.contracts[model]
    window = next(window for window in contract.windows if window.name == name)
    starts = [pane_of(history, event) for event in history.counted if event.model == model]
    last = max(starts) + contract.pane_s
    until = (last + window.length_s // 50) // window.hop_s * window.hop_s
    return until if until > min(starts) and not window.last else -(-last // window.hop_s) * window.hop_s


def expected_verdicts(history: History) -> Counter[tuple[str, str, str, str, int]]:
    """Count events one by one, by (model, version, slice, window, window end)."""
    counts: Counter[tuple[str, str, str, str, int]] = Counter()
    for (model, version, name, pane), n in expected_volume(history).items():
        for window, end in windows_of(history, model, pane):
            if history.live or end <= judged_until_s(history, model, window):
                counts[model, version, name, window, end] += n
    return counts


def expected_distances(history: History) -> Counter[tuple[str, str, str, int]]:
    """Count the numbers of `x` one by one, by (model, version, window, window end), in described windows."""
    counts: Counter[tuple[str, str, str, int]] = Counter()
    for event in history.counted:
        windows = history.registry.contracts[event.model].windows
        every_s = {window.name: described_every_s(window) for window in windows}
        for name, end in windows_of(history, event.model, pane_of(history, event)):
            judged = history.live or end <= judged_until_s(history, event.model, name)
            if event.x is not None and judged and end % every_s[name] == 0:
                counts[event.model, event.version, name, end] += 1
    return counts
