"""What the monitor holds after it has read some events, and the rows of `comparisons` that it makes of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from barograph.contract import Contract

from sketches.baseline.baseline import Baseline
from sketches.sketch.numeric import NumericSketch
from streams.events.batch import MessageBatch
from streams.events.json_decoder import JsonDecoder
from streams.monitor.state.series import Compiled, Series
from streams.monitor.verdicts.compare import Judged, compare
from streams.monitor.verdicts.numbers import Values
from streams.monitor.verdicts.sides import Member, arm_sides, in_order, version_sides
from streams.records import Partial, decode
from streams.registry.registry import RegisteredBaseline, Registry, build_registry
from streams.sketcher.partial_messages import encode_partials
from streams.sketcher.summarise import FlushSummaries
from tests.support.merged_panes import merge
from warehouse.tables import table_of

Row = dict[str, Any]


class ReadEvents:
    """Series of one model, made by the decoder, the summaries and the merge of the processors."""

    def __init__(self, contract: Contract, baselines: list[Baseline], events: list[Row]) -> None:
        entries = [RegisteredBaseline(each, each.id, 0, i) for i, each in enumerate(baselines)]
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
                Series(key.version, key.baseline_id, Compiled.of(layout), contract),
            )
            held = series.panes.setdefault(key.pane_start_s, series.empty_pane(key.pane_start_s))
            for data in encode_partials(key, pane, "topic", []):
                partial = decode(data)
                assert isinstance(partial, Partial)
                series.merge(held, partial, record_seq, late=False)

    def values(self, member: Member, field: int, end_s: int) -> Values | None:
        """Merged from panes, as tests may."""
        window = self.contract.windows[0]
        panes = [pane for at, pane in member.series.panes.items() if end_s - window.length_s <= at < end_s]
        merged = merge(member.series, end_s - window.length_s, panes)
        if member.slice_index == 0:
            sketch = member.series.open_sketch(field, merged.sketches[field])
            assert isinstance(sketch, NumericSketch)
            return Values(merged.moments[field], sketch)
        kept = merged.kept.get((member.slice_index, field))
        if kept is None:
            return None
        sketch = member.series.open_sketch(field, kept.sketch)
        assert isinstance(sketch, NumericSketch)
        return Values(kept.moments, sketch)

    def compare(self, ends_s: list[int], **changes: Any) -> list[Row]:
        """Rows of windows of the contract's first length, each with its end in Unix seconds."""
        n = len(ends_s)
        every = in_order(self.registry, self.contract.model, self.series.values())
        judged = Judged(
            self.contract,
            self.contract.windows[0],
            np.array(ends_s),
            changes.get("lost", np.zeros(n)),
            changes.get("whole", np.ones(n, dtype=bool)),
            7,
            1_790_000_000_000,
        )
        found = compare(judged, version_sides(every), arm_sides(self.contract, every), self.values)
        if found is None:
            return []
        rows: list[Row] = table_of("comparisons", found).to_pylist()
        for row in rows:
            row["end_s"] = round(row["window_end"].timestamp())
        return rows


def one(rows: list[Row], **wanted: Any) -> Row:
    """The one row that says so."""
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert len(found) == 1, (wanted, found)
    return found[0]
