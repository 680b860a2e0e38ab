"""Runs the state of one partition of the monitor with flushes made by hand and a warehouse in memory."""

from collections.abc import Iterable
from typing import Any

import msgspec

from barograph_server.streams.monitor.partition import Pace, PartitionState, RejectedRecord
from barograph_server.streams.monitor.state.merging import merge_panes
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.records import OffsetRange, Partial, PartitionProgress, Progress, decode
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.memory_warehouse import MemoryWarehouse
from tests.support.monitor_schedule import PARTIALS_TOPIC, T0_S, TOPIC, Event, baseline, columns, contract

HOUR_S = 3600
DAY_S = 86_400


def make_registry(applied_s: int = T0_S, **changes: Any) -> Registry:
    changed = msgspec.structs.replace(contract("m", HOUR_S), **changes)
    first = baseline("m", "1")
    return build_registry([(changed, applied_s * 1000)], [RegisteredBaseline(first, first.id, 0, 1)])


def event(
    at_s: int, *, x: float | None = 0.1, color: str = "red", version: str = "1", model: str = "m", **changes: Any
) -> Event:
    return Event(model, version, at_s * 1000, at_s * 1000, x, color, "north", False, **changes)


def make_partials(registry: Registry, events: list[Event], covered: OffsetRange) -> list[Partial]:
    summaries = FlushSummaries(registry)
    if events:
        rows = [(covered.start + i, entry) for i, entry in enumerate(events)]
        summaries.add(columns(events[0].model, covered.partition, rows))
    partials = []
    for key, pane in summaries.panes.items():
        for data in encode_partials(key, pane, TOPIC, [covered]):
            partial = decode(data)
            assert isinstance(partial, Partial)
            partials.append(partial)
    return partials


class MonitorHarness:
    def __init__(self, registry: Registry, *, live: bool, topic: str = PARTIALS_TOPIC, **options: Any) -> None:
        self.registry, self.live, self.topic = registry, live, topic
        self.options = {"write_s": 0.0, "revise_s": 0.0, **options}
        self.clock_s = float(T0_S)
        self.warehouse = MemoryWarehouse()
        self.offset = 0
        self.positions: dict[int, int] = {}
        self.acknowledged = 0
        self.restart()

    def make_store(self) -> WarehouseStore:
        return WarehouseStore(self.warehouse)  # type: ignore[arg-type]

    def restart(self) -> None:
        self.store = self.make_store()
        pace = Pace(self.live, **{name: self.options[name] for name in self.options.keys() & Pace.__annotations__})
        clocks = {"clock": lambda: self.clock_s, "monotonic_clock": lambda: self.clock_s}
        others = {name: value for name, value in self.options.items() if name not in Pace.__annotations__}
        self.state = PartitionState(0, (self.topic, 1), self.store, lambda: self.registry, pace, **{**clocks, **others})

    def flush(self, *at_s: int, version: str = "1", **delivery: Any) -> list[RejectedRecord]:
        return self.flush_events([event(s, version=version) for s in at_s], **delivery)

    def flush_events(
        self,
        events: list[Event],
        *,
        partition: int = 0,
        start: int | None = None,
        caught_up_s: int | None = None,
        partitions: int = 1,
        end_mark: bool = False,
    ) -> list[RejectedRecord]:
        first = self.positions.get(partition, 0) if start is None else start
        end = first + len(events)
        self.positions[partition] = max(end, self.positions.get(partition, 0))
        rejected = []
        for partial in make_partials(self.registry, events, OffsetRange(partition, first, end)):
            rejected.append(self.state.merge_partial(partial, self.offset))
            self.offset += 1
        times_ms = [entry.at_ms for entry in events]
        covered = PartitionProgress(
            partition=partition,
            start=first,
            end=end,
            newest_ms={"m": max(times_ms)} if times_ms else {},
            oldest_ms=min(times_ms, default=None),
            caught_up_at_ms=None if caught_up_s is None else caught_up_s * 1000,
            end_mark=end_mark,
        )
        progress = Progress(source_topic_id=TOPIC, source_partitions=partitions, counted_at_ms=1, ranges=[covered])
        commit, durable = self.state.apply_progress(progress, self.offset)
        self.offset += 1
        if commit is not None:
            self.store.write(commit)
            self.acknowledged = durable
        return [record for record in rejected if record is not None]

    def volume(self) -> dict[int, int]:
        return {
            (row["pane_start"] - T0_S) // HOUR_S: row["n"]
            for row in self.warehouse.tables["volume"].values()
            if row["slice"] == "all" and row["sealed"]
        }

    def verdicts(self, window: str, column: str = "n") -> dict[int, Any]:
        return {
            (row["window_end"] - T0_S) // HOUR_S: row[column]
            for row in self.warehouse.last("drift").values()
            if row["field"] == "x" and row["slice"] == "all" and row["window"] == window
        }

    def rollups(self, pane_s: int, field: str, origin_s: int = T0_S) -> dict[int, int]:
        return {
            (row["pane_start"] - origin_s) // HOUR_S: row["n"]
            for row in self.warehouse.tables["rollups"].values()
            if (row["pane_s"], row["field"], row["slice"]) == (pane_s, field, "all")
        }


def merge(series: Series, start_s: int, panes: Iterable[Pane]) -> Pane:
    return merge_panes(series, start_s, panes) or series.empty_pane(start_s)
