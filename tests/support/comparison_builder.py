"""Merges events as the processors do, and compares their versions and arms."""

import json
from typing import Any

import numpy as np
from barograph.contract import Contract

from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.sketches.sketch.merge import NumberSummary
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.state.merged_ranges import MergedRange
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series
from barograph_server.streams.monitor.verdicts.compare import compare
from barograph_server.streams.monitor.verdicts.sides import SeriesSlice, arm_sides, sort_series, version_sides
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet
from barograph_server.streams.monitor.windows import fixed_starts
from barograph_server.streams.records import Partial, decode
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from barograph_server.warehouse.tables import table_of

Row = dict[str, Any]


class MergedEvents:
    def __init__(self, contract: Contract, baselines: list[Baseline], events: list[Row]) -> None:
        entries = [RegisteredBaseline(baseline, baseline.id, 0, i) for i, baseline in enumerate(baselines)]
        self.registry: Registry = build_registry([(contract, 0)], entries)
        self.contract = contract
        self.series: dict[tuple[str, str], Series] = {}
        n = len(events)
        received = np.array([event["at"] for event in events], dtype=np.int64)
        values: list[bytes | None] = [json.dumps(event).encode() for event in events]
        decoded = JsonDecoder(self.registry).decode(
            MessageBatch(values, np.zeros(n, dtype=np.int32), np.arange(n), received)
        )
        assert not decoded.rejected
        summaries = FlushSummaries(self.registry)
        for columns in decoded.events:
            summaries.add(columns)
        for record_seq, (key, pane) in enumerate(summaries.panes.items()):
            layout = self.registry.layouts[key.baseline_id]
            series = self.series.setdefault(
                (key.version, key.baseline_id),
                Series(key.version, key.baseline_id, CompiledBaseline.of(layout), contract),
            )
            merged = series.panes.setdefault(key.pane_start_s, series.empty_pane(key.pane_start_s))
            for data in encode_partials(key, pane, "topic", []):
                partial = decode(data)
                assert isinstance(partial, Partial)
                series.merge(merged, partial, record_seq, late=False)

    def read_numbers(self, member: SeriesSlice, field_index: int, end_s: int) -> NumberSummary | None:
        """Merge the numbers of a window of the contract's first length, without stored ranges."""
        start_s = end_s - self.contract.windows[0].length_s
        merged = MergedRange(member.layout)
        for pane in member.series.iter_panes(start_s, end_s):
            merged.add_pane(member.series, pane)
        return merged.numbers.get((member.slice_index, field_index))

    def columns(self, ends_s: list[int], **changes: Any) -> Columns | None:
        n = len(ends_s)
        series = sort_series(self.registry, self.contract.model, self.series.values())
        windows = WindowSet(
            self.contract,
            self.contract.windows[0],
            fixed_starts(self.contract.windows[0], ends_s),
            np.array(ends_s),
            changes.get("lost", np.zeros(n)),
            changes.get("gaps", np.zeros(n, dtype=np.int8)),
            7,
            1_790_000_000_000,
        )
        return compare(windows, version_sides(series), arm_sides(self.contract, series), self.read_numbers)

    def compare(self, ends_s: list[int], **changes: Any) -> list[Row]:
        columns = self.columns(ends_s, **changes)
        if columns is None:
            return []
        rows: list[Row] = table_of("comparisons", columns).to_pylist()
        for row in rows:
            row["end_s"] = round(row["window_end"].timestamp())
        return rows


def one(rows: list[Row], **values: Any) -> Row:
    matches = [row for row in rows if all(row[name] == value for name, value in values.items())]
    assert len(matches) == 1, (values, matches)
    return matches[0]
