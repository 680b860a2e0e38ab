"""Parts: what is written is read again, damage is refused, any split covers all, and any order merges to the same."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract, Field
from hypothesis import given, settings
from hypothesis import strategies as st

from sketches.baseline import Baseline, FieldBaseline, SliceCounts, SliceValues
from sketches.layout import TAIL, Layout
from sketches.numeric import numeric_sketch
from streams import flush
from streams.flush import part_messages, rectangles
from streams.monitor.series import Compiled, Series
from streams.records import (
    MAX_BODY_BYTES,
    MAX_RECORD_BYTES,
    Part,
    PartitionProgress,
    Progress,
    Range,
    RecordError,
    decode,
    encode,
)
from streams.summarise import PaneKey, PaneSummary

INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(max_size=8)
RANGES = st.lists(st.builds(Range, st.integers(0, 99), st.integers(0, 2**40), st.integers(0, 2**40)), max_size=4)
COUNTS = st.integers(0, 5) | st.integers(0, 2**40)


def make_layout(shape: list[int], values: list[int]) -> Layout:
    """A layout of numeric fields (bins ≥ 2) and category fields (negative: categories), and slice dimensions."""
    dimensions = tuple(
        SliceValues(name=f"d{i}", source=f"context.d{i}", values=tuple(f"v{j}" for j in range(n)), trained=True)
        for i, n in enumerate(values)
    )
    names = ["all", *(f"{d.name}={v}" for d in dimensions for v in (*d.values, "other"))]
    fields = []
    for i, n in enumerate(shape):
        cells = n + 1 if n > 0 else -n + 2
        counts = {name: SliceCounts(cells=(1,) * cells) for name in names}
        if n > 0:
            edges = tuple(float(j) for j in range(n - 1))
            fields.append(FieldBaseline(name=f"f{i}", kind="numeric", edges=edges, slices=counts))
        else:
            categories = tuple(f"c{j}" for j in range(-n))
            fields.append(FieldBaseline(name=f"f{i}", kind="category", categories=categories, slices=counts))
    return Layout(
        Baseline(
            model="m",
            version="1",
            rows=10,
            slice_rows=dict.fromkeys(names, 10),
            dimensions=dimensions,
            fields=tuple(fields),
        )
    )


LAYOUTS = st.builds(
    make_layout,
    st.lists(st.integers(2, 12) | st.integers(-5, -1), min_size=1, max_size=6),
    st.lists(st.integers(1, 4), max_size=2),
)


@st.composite
def parts(draw: st.DrawFn) -> Part:
    rows, width, fields = draw(st.integers(0, 3)), draw(st.integers(2, 6)), draw(st.integers(0, 3))
    first = draw(st.integers(0, 5))
    whole = draw(st.booleans())
    floats = st.floats(allow_nan=False)
    counts = draw(st.lists(COUNTS, min_size=rows * width, max_size=rows * width))
    return Part(
        model=draw(NAMES),
        version=draw(NAMES),
        baseline_id=draw(NAMES),
        pane_start_s=draw(st.integers(0, 2**33)),
        pane_s=draw(st.integers(1, 86_400)),
        unregistered=draw(st.booleans()),
        source_topic_id=draw(NAMES),
        ranges=draw(RANGES),
        slice_from=first,
        slice_to=first + rows,
        field_from=2,
        field_to=2 + fields,
        counts=np.array(counts, dtype=np.int64).reshape(rows, width if rows else 0),
        moments=np.array(draw(st.lists(floats, min_size=4 * fields, max_size=4 * fields))).reshape(-1, 4)
        if whole
        else np.empty((0, 4)),
        sketches=draw(st.lists(st.binary(max_size=20), min_size=fields, max_size=fields)) if whole else [],
    )


PROGRESS = st.builds(
    Progress,
    source_topic_id=NAMES,
    source_partitions=st.integers(0, 1000),
    counted_at_ms=INT64,
    ranges=st.lists(
        st.builds(
            PartitionProgress,
            partition=st.integers(0, 1000),
            start=st.integers(0, 2**62),
            end=st.integers(0, 2**62),
            newest_ms=st.dictionaries(NAMES, INT64, max_size=3),
            oldest_ms=st.none() | INT64,
            end_mark=st.booleans(),
            caught_up_at_ms=st.none() | INT64,
        ),
        max_size=3,
    ),
    instance=NAMES,
)


def plain(record: Part | Progress) -> Any:
    """A record as what can be compared."""
    if isinstance(record, Progress):
        return record
    told = {name: getattr(record, name) for name in record.__struct_fields__}
    return told | {"counts": record.counts.tolist(), "moments": record.moments.tolist()}


@settings(max_examples=200)
@given(parts() | PROGRESS)
def test_what_is_written_is_read_again(record: Part | Progress) -> None:
    assert plain(decode(encode(record))) == plain(record)


@settings(max_examples=200)
@given(parts() | PROGRESS, st.data())
def test_damaged_records_are_refused(record: Part | Progress, data: st.DataObject) -> None:
    whole = encode(record)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(RecordError):
        decode(whole[:cut])
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RecordError):
        decode(bytes(changed))
    with pytest.raises(RecordError):
        decode(whole + b"\0")


def with_checksum(kind: bytes, size: int, body: bytes) -> bytes:
    """A record whose checksum is right, whatever its body holds."""
    import zlib

    rest = size.to_bytes(4, "big") + body
    return kind + b"\x01" + zlib.crc32(rest).to_bytes(4, "big") + rest


@settings(max_examples=200)
@given(st.sampled_from([b"P", b"G"]), st.integers(0, 2**32 - 1), st.binary(max_size=60))
def test_nonsense_with_a_right_checksum_is_refused(kind: bytes, size: int, body: bytes) -> None:
    with pytest.raises(RecordError):
        decode(with_checksum(kind, min(size, MAX_BODY_BYTES + 1), body))


@settings(max_examples=100)
@given(LAYOUTS, st.integers(8, 3000), st.data())
def test_rectangles_cover_every_cell_once_and_keep_to_the_budget(
    layout: Layout, budget: int, data: st.DataObject
) -> None:
    n = layout.n_fields
    sizes = data.draw(st.lists(st.integers(0, 600), min_size=n, max_size=n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "_BUDGET_BYTES", budget)
        found = rectangles(layout, sizes)
    seen = np.zeros((layout.n_slices, n), dtype=int)
    for s0, s1, f0, f1 in found:
        assert s0 < s1
        assert f0 < f1
        seen[s0:s1, f0:f1] += 1
        cells = (s1 - s0) * int((layout.n_cells[f0:f1] + TAIL).sum()) * 4
        extra = sum(sizes[f0:f1]) + 32 * (f1 - f0) if s0 == 0 else 0
        single = s1 - s0 == f1 - f0 == 1
        assert single or cells + extra <= budget
    assert (seen == 1).all()


def test_a_part_of_the_largest_size_stays_under_the_limit() -> None:
    layout = make_layout([200] * 60, [60, 60])
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 2**31 - 1, (layout.n_slices, layout.width))
    pane = PaneSummary(layout, 60, False, counts, layout.empty_moments(), [None] * layout.n_fields)
    messages = list(part_messages(PaneKey("m", "1", "b", 0), pane, "topic", [Range(0, 0, 9)]))
    assert len(messages) > 5
    # Random counts do not compress: real ones are smaller.
    assert max(map(len, messages)) <= MAX_RECORD_BYTES


def make_series(layout: Layout) -> Series:
    fields = tuple(
        Field(name=f.name, type="float" if f.kind == "numeric" else "category", source=f"features.{f.name}")
        for f in layout.fields
    )
    return Series("1", "b", Compiled.of(layout), Contract(model="m", pane_s=60, fields=fields))


def random_pane(layout: Layout, rng: np.random.Generator) -> PaneSummary:
    counts = rng.integers(0, 3, (layout.n_slices, layout.width)) * rng.integers(0, 2, (layout.n_slices, 1))
    counts[0] += 1
    moments = layout.empty_moments()
    sketches: list[Any] = [None] * layout.n_fields
    for i, field in enumerate(layout.fields):
        if field.kind == "numeric" and rng.random() < 0.8:
            # Whole numbers add up exactly in any order.
            values = rng.integers(-9, 9, 5).astype(float)
            moments[i] = values.sum(), (values**2).sum(), values.min(), values.max()
            sketches[i] = numeric_sketch(field.integer, "kll")
            sketches[i].update(values)
    return PaneSummary(layout, 60, False, counts, moments, sketches)


@settings(max_examples=80)
@given(LAYOUTS, st.integers(1, 5), st.sampled_from([60, 300, 400_000]), st.integers(0, 2**32))
def test_parts_in_any_order_and_delivered_again_merge_to_the_sum(
    layout: Layout, flushes: int, budget: int, seed: int
) -> None:
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    panes = [random_pane(layout, numbers) for _ in range(flushes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "_BUDGET_BYTES", budget)
        written = [record for pane in panes for record in part_messages(PaneKey("m", "1", "b", 0), pane, "topic", [])]
    records = [decode(record) for record in written]
    rng.shuffle(records)
    series = make_series(layout)
    merged = series.empty_pane(0)
    at, restarts = 0, rng.sample(range(len(records)), min(len(records), 4))
    while at < len(records):
        part = records[at]
        assert isinstance(part, Part)
        series.check(part)
        series.merge(merged, part, at, late=False)
        if at in restarts:
            restarts.remove(at)
            at = rng.randrange(at + 1)
        else:
            at += 1
    assert (merged.counts == sum(pane.counts for pane in panes)).all()
    wanted = layout.empty_moments()
    for pane in panes:
        wanted[:, :2] += pane.moments[:, :2]
        wanted[:, 2] = np.minimum(wanted[:, 2], pane.moments[:, 2])
        wanted[:, 3] = np.maximum(wanted[:, 3], pane.moments[:, 3])
    np.testing.assert_array_equal(merged.moments, wanted)
    for i, data in enumerate(merged.sketches):
        n = sum(sketch.n for sketch in (pane.sketches[i] for pane in panes) if sketch is not None)
        assert (series.open_sketch(i, data).n if data else 0) == n


@settings(max_examples=60)
@given(LAYOUTS, st.data())
def test_parts_of_another_shape_are_refused(layout: Layout, data: st.DataObject) -> None:
    pane = random_pane(layout, np.random.default_rng(1))
    [record] = part_messages(PaneKey("m", "1", "b", 0), pane, "topic", [])
    part = decode(record)
    assert isinstance(part, Part)
    series = make_series(layout)
    change = data.draw(st.sampled_from(["pane_s", "slice_to", "field_to", "width"]))
    if change == "width":
        part.counts = np.concatenate((part.counts, part.counts[:, :1]), axis=1)
    else:
        setattr(part, change, getattr(part, change) + 1)
    with pytest.raises(RecordError):
        series.check(part)
