"""Baselines stripped for counting give the same counts, and baselines packed for judging the same references."""

import msgspec
import numpy as np

from barograph_server.sketches.baseline.baseline import for_counting, for_judging
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.monitor.state.series import training_references
from barograph_server.streams.registry.registry import RegisteredBaseline, build_registry
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.messages import NOW_MS, batch_of
from tests.support.pipeline import simple_baseline, simple_contract

BASELINE = simple_baseline()


def test_judging_baseline_has_the_same_quantiles() -> None:
    packed = for_judging(BASELINE)
    assert [tuple(field.quantiles) for field in packed.fields] == [field.quantiles for field in BASELINE.fields]
    original, restored = (training_references(simple_contract(), each.fields) for each in (BASELINE, packed))
    assert any(reference.table is not None for reference in original)
    for one, other in zip(original, restored, strict=True):
        assert (one.field_index, one.m, one.mean, one.std) == (other.field_index, other.m, other.mean, other.std)
        assert (one.table is None) == (other.table is None)
        if one.table is not None and other.table is not None:
            assert (one.table.steps == other.table.steps).all()


def test_counting_baseline_has_less_and_gives_the_same_layout_and_counts() -> None:
    for field in for_counting(BASELINE).fields:
        assert (field.quantiles, field.hours_of_week, field.slices) == ((), {}, {}), "nothing that only judging reads"
    whole, less = Layout(BASELINE), Layout(for_counting(BASELINE))
    assert (less.slices, less.n_fields, less.width) == (whole.slices, whole.n_fields, whole.width)
    for name in ("starts", "n_cells"):
        assert (getattr(less, name) == getattr(whole, name)).all()
    rng = np.random.default_rng(1)
    events = []
    for i in range(500):
        features = {"x": rng.normal(), "k": int(rng.integers(0, 9)), "colour": "red" if i % 3 else "mauve"}
        context = {"region": "north" if i % 2 else "west"}
        head = {"model": "toy", "version": "1", "id": str(i), "at": NOW_MS}
        events.append(msgspec.json.encode(head | {"features": features, "context": context}))
    results = []
    for baseline in (BASELINE, for_counting(BASELINE)):
        registry = build_registry([(simple_contract(), 0)], [RegisteredBaseline(baseline, BASELINE.id, 0, 0)])
        summaries = FlushSummaries(registry)
        for columns in JsonDecoder(registry).decode(batch_of(*events)).events:
            summaries.add(columns)
        results.append(summaries.panes)
    original, stripped = results
    assert original.keys() == stripped.keys()
    assert len(original) == 1
    for key, pane in original.items():
        assert (pane.counts == stripped[key].counts).all()
        assert (pane.moments == stripped[key].moments).all()
