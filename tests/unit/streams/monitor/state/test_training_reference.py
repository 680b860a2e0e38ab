"""Who counts does without what only judging reads, and counts the same."""

from __future__ import annotations

import msgspec
import numpy as np

from sketches.baseline.baseline import for_counting, for_judging
from sketches.baseline.layout import Layout
from streams.events.batch import MessageBatch
from streams.events.json_decoder import JsonDecoder
from streams.monitor.state.training_reference import trained_of
from streams.registry.registry import RegisteredBaseline, build_registry
from streams.sketcher.summarise import FlushSummaries
from tests.support.pipeline import simple_baseline, simple_contract

NOW_MS = 1_790_000_000_000
BASELINE = simple_baseline()


def test_what_only_judging_reads_is_gone() -> None:
    for field in for_counting(BASELINE).fields:
        assert (field.quantiles, field.slots, field.slices) == ((), {}, {})


def test_who_judges_reads_the_same_quantiles() -> None:
    packed = for_judging(BASELINE)
    assert [tuple(field.quantiles) for field in packed.fields] == [field.quantiles for field in BASELINE.fields]
    whole, part = (trained_of(simple_contract(), baseline.fields) for baseline in (BASELINE, packed))
    assert any(trained.table is not None for trained in whole)
    for one, other in zip(whole, part, strict=True):
        assert (one.field_index, one.m, one.mean, one.std) == (other.field_index, other.m, other.mean, other.std)
        assert (one.table is None) == (other.table is None)
        if one.table is not None and other.table is not None:
            assert (one.table.steps == other.table.steps).all()


def test_the_layout_is_the_same() -> None:
    whole, part = Layout(BASELINE), Layout(for_counting(BASELINE))
    assert part.slices == whole.slices
    assert (part.n_fields, part.width) == (whole.n_fields, whole.width)
    for name in ("starts", "n_cells"):
        assert (getattr(part, name) == getattr(whole, name)).all()


def test_the_counts_are_the_same() -> None:
    rng = np.random.default_rng(1)
    events: list[bytes | None] = [
        msgspec.json.encode(
            {
                "model": "toy",
                "version": "1",
                "id": str(i),
                "at": NOW_MS,
                "features": {
                    "x": float(rng.normal()),
                    "k": int(rng.integers(0, 9)),
                    "colour": "red" if i % 3 else "mauve",
                },
                "context": {"region": "north" if i % 2 else "west"},
            }
        )
        for i in range(500)
    ]
    found = []
    for baseline in (BASELINE, for_counting(BASELINE)):
        registry = build_registry([(simple_contract(), 0)], [RegisteredBaseline(baseline, BASELINE.id, 0, 0)])
        summaries = FlushSummaries(registry)
        n = len(events)
        batch = MessageBatch(events, np.zeros(n, np.int32), np.arange(n), np.full(n, NOW_MS))
        for columns in JsonDecoder(registry).decode(batch).events:
            summaries.add(columns)
        found.append(summaries.panes)
    whole, part = found
    assert whole.keys() == part.keys()
    assert len(whole) == 1
    for key, pane in whole.items():
        assert (pane.counts == part[key].counts).all()
        assert (pane.moments == part[key].moments).all()
