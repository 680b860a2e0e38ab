"""A state of the monitor on a desk: flushes are made by hand, and its rows are in memory."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.monitor.partition import Dead, PartitionState
from streams.monitor.state.store import WarehouseStore
from streams.records import (
    OffsetRange,
    Partial,
    PartitionProgress,
    Progress,
    decode,
)
from streams.registry.registry import RegisteredBaseline, Registry, build_registry
from streams.sketcher.partial_messages import encode_partials
from streams.sketcher.summarise import FlushSummaries
from tests.support.memory_warehouse import MemoryWarehouse
from tests.support.monitor_schedule import (
    PARTIALS_TOPIC,
    T0_S,
    TOPIC,
    Event,
    baseline,
    columns,
    contract,
)

HOUR_S = 3600
DAY_S = 86_400


def make_registry(applied_s: int = T0_S, **changes: Any) -> Registry:
    """The model `m` with one version, its contract changed."""
    told = msgspec.structs.replace(contract("m", HOUR_S), **changes)
    first = baseline("m", "1")
    return build_registry([(told, applied_s * 1000)], [RegisteredBaseline(first, first.id, 0, 1)])


class Desk:
    """One state with what it wrote, and flushes made by hand."""

    def __init__(self, registry: Registry, *, live: bool, topic: str = PARTIALS_TOPIC) -> None:
        self.registry, self.live, self.topic = registry, live, topic
        self.warehouse = MemoryWarehouse()
        self.offset = 0
        self.positions: dict[int, int] = {}
        self.acknowledged = 0
        self.restart()

    def restart(self) -> None:
        self.store = WarehouseStore(self.warehouse)  # type: ignore[arg-type]
        self.state = PartitionState(
            0, 1, self.topic, self.store, lambda: self.registry, live=self.live, write_s=0.0, revise_s=0.0
        )

    def flush(
        self,
        *at_s: int,
        partition: int = 0,
        start: int | None = None,
        caught_up_s: int | None = None,
        version: str = "1",
        partitions: int = 1,
        end_mark: bool = False,
    ) -> list[Dead]:
        """Bring a flush of events at these times, as parts and progress; return what was put aside."""
        first = self.positions.get(partition, 0) if start is None else start
        end = first + len(at_s)
        self.positions[partition] = max(end, self.positions.get(partition, 0))
        events = [Event("m", version, s * 1000, s * 1000, 0.1, "red", "north", False) for s in at_s]
        dead = self.partials(events, OffsetRange(partition, first, end))
        read = PartitionProgress(
            partition=partition,
            start=first,
            end=end,
            newest_ms={"m": max(at_s) * 1000} if at_s else {},
            oldest_ms=min(at_s) * 1000 if at_s else None,
            caught_up_at_ms=None if caught_up_s is None else caught_up_s * 1000,
            end_mark=end_mark,
        )
        progress = Progress(source_topic_id=TOPIC, source_partitions=partitions, counted_at_ms=1, ranges=[read])
        writes, durable = self.state.progress(progress, self.offset)
        self.offset += 1
        if writes is not None:
            self.store.write(writes)
            self.acknowledged = durable
        return [one for one in dead if one is not None]

    def partials(self, events: list[Event], read: OffsetRange) -> list[Dead | None]:
        """Bring the parts of events."""
        summaries = FlushSummaries(self.registry)
        if events:
            summaries.add(columns("m", read.partition, [(read.start + i, event) for i, event in enumerate(events)]))
        dead = []
        for key, pane in summaries.panes.items():
            for data in encode_partials(key, pane, TOPIC, [read]):
                partial = decode(data)
                assert isinstance(partial, Partial)
                dead.append(self.state.partial(partial, self.offset))
                self.offset += 1
        return dead

    def events(self, events: list[Event]) -> None:
        """Bring a flush of events of partition 0, and a progress record after it."""
        first = self.positions.get(0, 0)
        assert self.partials(events, OffsetRange(0, first, first + len(events))) == [None]
        self.flush(start=first + len(events))

    def volume(self) -> dict[int, int]:
        """Events of sealed panes of `all` by the hours since T0."""
        return {
            (row["pane_start"] - T0_S) // HOUR_S: row["n"]
            for row in self.warehouse.tables["volume"].values()
            if row["slice"] == "all" and row["sealed"]
        }

    def verdicts(self, window: str, column: str = "n") -> dict[int, Any]:
        """The last verdicts on `x` in `all` by the hours since T0 at which the window ends."""
        return {
            (row["window_end"] - T0_S) // HOUR_S: row[column]
            for row in self.warehouse.last("drift").values()
            if row["field"] == "x" and row["slice"] == "all" and row["window"] == window
        }
