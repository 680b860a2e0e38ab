import math
from bisect import bisect_right
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract, Field, Slice
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts, SliceValues
from barograph_server.sketches.baseline.columns import TAIL_KEYS
from barograph_server.sketches.baseline.layout import EVENTS
from barograph_server.sketches.sketch.categorical import UnseenCategories
from barograph_server.sketches.sketch.numeric import as_sketched
from barograph_server.streams.events.columns import INVALID_TEXT, EventColumns
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher import count_panes, grouping
from barograph_server.streams.sketcher.pane_summary import PaneKey
from barograph_server.streams.sketcher.summarise import FlushSummaries

PANE_S = 60
EDGES = (-5.0, 0.0, 2.0**24 + 1, 2.0**53)
LOW, HIGH = -10.0, 2.0**60
COLOURS = ("blue", "green", "red")
NUMBERS = st.sampled_from(
    [
        *(math.nan, math.inf, -math.inf, 0.0, -0.0, -5.0, -5.0000001, -10.0, -10.5, 5e-324, -5e-324),
        *(2.0**24, 2.0**24 + 1, 2.0**24 + 2, 2.0**53 - 1, 2.0**53, 2.0**53 + 2, 2.0**60, 2.0**61, 1.7e308, -1.7e308),
    ]
) | st.floats(-20, 20)
TEXTS = st.sampled_from([*COLOURS, "mauve", "", INVALID_TEXT, None])
EVENT = st.tuples(st.integers(0, 3), NUMBERS, NUMBERS, TEXTS, TEXTS, TEXTS, st.booleans())


def registry(dimensions: int, retained: bool) -> Registry:
    cuts = tuple(
        SliceValues(name=f"d{i}", source=f"context.d{i}", values=COLOURS[: i + 1], trained=True)
        for i in range(dimensions)
    )
    names = ["all", *(f"{cut.name}={value}" for cut in cuts for value in (*cut.values, "other"))]
    limits: dict[str, Any] = {"edges": EDGES, "low": LOW, "high": HIGH, "mean": 1.5}
    shapes: list[dict[str, Any]] = [
        {"name": "x", "kind": "numeric", **limits},
        {"name": "n", "kind": "numeric", "integer": True, **limits},
        {"name": "colour", "kind": "category", "categories": COLOURS},
    ]
    fields = []
    for shape in shapes:
        cells = len(shape.get("edges", ())) + 2 if shape["kind"] == "numeric" else len(COLOURS) + 2
        fields.append(FieldBaseline(**shape, slices={name: SliceCounts(cells=(1,) * cells) for name in names}))
    baseline = Baseline(
        model="m",
        version="1",
        rows=10,
        slice_rows=dict.fromkeys(names, 10),
        dimensions=cuts,
        fields=tuple(sorted(fields, key=lambda field: field.name)),
    )
    contract = Contract(
        model="m",
        pane_s=PANE_S,
        fields=(
            Field(name="x", source="features.x", type="float"),
            Field(name="n", source="metrics.n", type="float"),
            Field(name="colour", source="class", type="category"),
        ),
        slices=tuple(
            Slice(name=cut.name, source=cut.source, sketches=("x", "n") if retained and cut.name == "d0" else ())
            for cut in cuts
        ),
    )
    return build_registry([(contract, 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])


def columns(events: list[Any], dimensions: int) -> EventColumns:
    n = len(events)
    pane, x, whole, colour, *texts, failed = zip(*events, strict=True) if events else ((),) * 7
    return EventColumns(
        "m",
        np.array(pane, dtype=np.int64) * PANE_S * 1000 + 7,
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=np.int32),
        np.arange(n, dtype=np.int64),
        np.zeros(n, dtype=np.int32),
        ("1",),
        np.zeros(n, dtype=np.int32),
        np.array(failed, dtype=bool),
        {"features.x": np.array(x, dtype=np.float64), "metrics.n": np.array(whole, dtype=np.float64)},
        {
            "class": pa.array(colour, pa.string()),
            **{f"context.d{i}": pa.array(texts[i % len(texts)], pa.string()) for i in range(dimensions)},
        },
    )


def cells_of(value: Any) -> set[str]:
    """The columns of one value, by name: its bin or category, `null` or `invalid`, and `below` or `above`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return {"null"}
    if isinstance(value, str):
        return {"invalid"} if value == INVALID_TEXT else {value if value in COLOURS else "unseen"}
    if math.isinf(value):
        return {"invalid"}
    result = {str(bisect_right(EDGES, value))}
    return result | ({"below"} if value < LOW else {"above"} if value > HIGH else set())


def plainly(events: list[Any], dimensions: int) -> dict[int, dict[tuple[str, str, str], int]]:
    """Counts by pane, and within it by slice, field and column, event by event."""
    counts: dict[int, dict[tuple[str, str, str], int]] = defaultdict(lambda: defaultdict(int))
    for pane, x, whole, colour, *texts, failed in events:
        slices = ["all"]
        for i in range(dimensions):
            text = texts[i % len(texts)]
            slices.append(f"d{i}={text if text in COLOURS[: i + 1] else 'other'}")
        for name in slices:
            counts[pane * PANE_S][name, "", "events"] += 1
            for field, value in (("x", x), ("n", whole), ("colour", colour)):
                for column in set() if failed and field != "x" else cells_of(value):
                    counts[pane * PANE_S][name, field, column] += 1
    return counts


def named(key: PaneKey, summaries: FlushSummaries) -> dict[tuple[str, str, str], int]:
    pane = summaries.panes[key]
    layout = pane.layout
    result: dict[tuple[str, str, str], int] = {}
    for s, name in enumerate(layout.slices):
        result[name, "", "events"] = int(pane.counts[s, EVENTS])
        for i, field in enumerate(layout.fields):
            inner = [str(b) for b in range(field.n_cells - 1)]
            if field.kind == "category":
                inner = [*field.categories, "unseen"]
            values = pane.counts[s, layout.span(i, i + 1)].tolist()
            result |= zip(((name, field.name, column) for column in (*inner, "null", *TAIL_KEYS)), values, strict=True)
    return {key: n for key, n in result.items() if n}


@pytest.mark.parametrize("counters", [1, 60, grouping.MAX_COUNTERS])
@pytest.mark.parametrize("few", [1, count_panes.FEW_IN_PANE])
@settings(max_examples=60)
@given(
    events=st.lists(EVENT, max_size=60), dimensions=st.integers(0, 4), retained=st.booleans(), cut=st.integers(0, 60)
)
def test_counts_of_arrays_equal_counts_of_single_events(
    counters: int, few: int, events: list[Any], dimensions: int, retained: bool, cut: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "MAX_COUNTERS", counters)
        patch.setattr(count_panes, "FEW_IN_PANE", few)
        summaries = FlushSummaries(registry(dimensions, retained))
        # In two portions, like polls: the second adds to the counts of the first.
        for sample in (events[:cut], events[cut:]):
            if sample:
                summaries.add(columns(sample, dimensions))
    expected = plainly(events, dimensions)
    assert {key.pane_start_s for key in summaries.panes} == set(expected)
    for key in summaries.panes:
        assert named(key, summaries) == dict(expected[key.pane_start_s])
        _check_sketches(key, summaries, events, dimensions)


def _check_sketches(key: PaneKey, summaries: FlushSummaries, events: list[Any], dimensions: int) -> None:
    pane = summaries.panes[key]
    in_pane = [event for event in events if event[0] * PANE_S == key.pane_start_s]
    answers = [event for event in in_pane if not event[-1]]
    index = {field.name: i for i, field in enumerate(pane.layout.fields)}
    for name, column, own in (("x", 1, in_pane), ("n", 2, answers)):
        values = np.array([event[column] for event in own])
        _check_numbers(values[np.isfinite(values)], pane.moments[index[name]], pane.sketches[index[name]])
        for s in range(1, 3) if pane.slices else ():
            inside = [event for event in own if (event[4] == COLOURS[0]) == (s == 1)]
            values = np.array([event[column] for event in inside])
            values = values[np.isfinite(values)] if inside else values
            result = pane.slices.get((s, index[name]))
            assert (result is None) == (values.size == 0)
            if result is not None:
                _check_numbers(values, result.moments, result.sketch)
    strange = {event[3] for event in answers} - {*COLOURS, INVALID_TEXT, None}
    unseen = pane.sketches[index["colour"]]
    assert (unseen is None) == (not strange)
    if isinstance(unseen, UnseenCategories):
        assert {result.value for result in unseen.top(99)} == strange


def _check_numbers(values: Any, moments: Any, sketch: Any) -> None:
    if not values.size:
        assert sketch is None
        return
    assert sketch.n == values.size
    assert moments[2:].tolist() == [values.min(), values.max()]
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = values - 1.5
        for result, exact in ((moments[0], shifted.sum()), (moments[1], (shifted * shifted).sum())):
            scale = np.abs(shifted).sum() if exact == shifted.sum() else exact
            assert result == exact or not np.isfinite(exact) or abs(result - exact) <= 1e-9 * (1 + scale)
    # So few values are all kept.
    middles = (np.arange(values.size) + 0.5) / values.size
    assert sketch.quantiles(middles).tolist() == as_sketched(sketch.sketch_type, np.sort(values)).tolist()
