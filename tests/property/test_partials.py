import random
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract, Field
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.sketches.baseline.baseline import SliceCounts
from barograph_server.sketches.baseline.columns import TAIL, TAIL_KEYS
from barograph_server.sketches.baseline.layout import HEADER, Layout
from barograph_server.sketches.sketch.merge import NumberSummary
from barograph_server.sketches.sketch.numeric import FloatArray, numeric_sketch
from barograph_server.streams import tallies
from barograph_server.streams.monitor.rows.pane_rows import pane_columns
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.restore import restore_panes
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series
from barograph_server.streams.records import (
    MAX_BODY_BYTES,
    MAX_RECORD_BYTES,
    DeadCount,
    ErrorCount,
    OffsetRange,
    Partial,
    PartitionProgress,
    ProducerCount,
    ProducerHeartbeat,
    Progress,
    Record,
    RecordError,
    Tally,
    decode,
    encode,
)
from barograph_server.streams.sketcher import partial_messages
from barograph_server.streams.sketcher.pane_summary import PaneKey, PaneSummary
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.warehouse.tables import table_of
from tests.support import baselines
from tests.support.monitor_harness import merge

INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(max_size=8)
RANGES = st.lists(st.builds(OffsetRange, st.integers(0, 99), st.integers(0, 2**40), st.integers(0, 2**40)), max_size=4)
COUNTS = st.integers(0, 5) | st.integers(0, 2**40)


def make_layout(shape: list[int], values: list[int]) -> Layout:
    return Layout(baselines.shaped(shape, values, lambda n, _: SliceCounts(cells=(1,) * n), 10))


LAYOUTS = st.builds(
    make_layout,
    st.lists(st.integers(2, 12) | st.integers(-5, -1), min_size=1, max_size=6),
    st.lists(st.integers(1, 4), max_size=2),
)


@st.composite
def partials(draw: st.DrawFn) -> Partial:
    rows, width, fields = draw(st.integers(0, 3)), draw(st.integers(HEADER, 8)), draw(st.integers(0, 3))
    first = draw(st.integers(0, 5))
    whole = draw(st.booleans())
    retained = draw(st.integers(0, min(rows, fields)))
    floats = st.floats(allow_nan=False)
    counts = draw(st.lists(COUNTS, min_size=rows * width, max_size=rows * width))
    return Partial(
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
        slice_cells=np.array([(first + i, 2 + i) for i in range(retained)], dtype=np.int64).reshape(-1, 2),
        slice_moments=np.array(draw(st.lists(floats, min_size=4 * retained, max_size=4 * retained))).reshape(-1, 4),
        slice_sketches=draw(st.lists(st.binary(max_size=20), min_size=retained, max_size=retained)),
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


TALLIES = st.builds(
    Tally,
    model=NAMES,
    topic=NAMES,
    source_topic_id=NAMES,
    ranges=RANGES,
    pane_s=st.integers(0, 86_400),
    errors=st.lists(st.builds(ErrorCount, NAMES, NAMES, NAMES, NAMES, st.integers(0, 2**33), COUNTS), max_size=3),
    producers=st.lists(st.builds(ProducerCount, NAMES, st.integers(0, 2**33), COUNTS, INT64, INT64), max_size=3),
    dead=st.lists(st.builds(DeadCount, NAMES, st.integers(0, 2**33), COUNTS), max_size=3),
    heartbeats=st.lists(st.builds(ProducerHeartbeat, NAMES, INT64, INT64, INT64, COUNTS, st.booleans()), max_size=3),
)


def plain(record: Record) -> Any:
    if not isinstance(record, Partial):
        return record
    values = {name: getattr(record, name) for name in record.__struct_fields__}
    arrays = ("counts", "moments", "slice_cells", "slice_moments")
    return values | {name: getattr(record, name).tolist() for name in arrays}


@settings(max_examples=100)
@given(partials() | TALLIES | PROGRESS)
def test_records_survive_encoding(record: Record) -> None:
    assert plain(decode(encode(record))) == plain(record)


def messages_of(pane: PaneSummary, ranges: Sequence[OffsetRange] = ()) -> list[bytes]:
    return list(encode_partials(PaneKey("m", "1", "b", 0), pane, "topic", list(ranges)))


def partials_of(pane: PaneSummary) -> list[Partial]:
    records = [decode(message) for message in messages_of(pane)]
    result = [record for record in records if isinstance(record, Partial)]
    assert len(result) == len(records)
    return result


@settings(max_examples=100)
@given(
    partials() | TALLIES | PROGRESS,
    st.data(),
    st.sampled_from([b"P", b"T", b"G"]),
    st.integers(0, MAX_BODY_BYTES + 1),
    st.binary(max_size=60),
)
def test_damaged_records_are_rejected(
    record: Record, data: st.DataObject, kind: bytes, size: int, nonsense: bytes
) -> None:
    whole = encode(record)
    cut = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    # Nonsense is rejected despite a valid checksum.
    rest = size.to_bytes(4, "big") + nonsense
    checked = [kind + bytes([version]) + zlib.crc32(rest).to_bytes(4, "big") + rest for version in (1, 2)]
    for damaged in (whole[:cut], bytes(changed), whole + b"\0", *checked):
        with pytest.raises(RecordError):
            decode(damaged)


@settings(max_examples=100)
@given(partials() | PROGRESS)
def test_records_of_the_format_before_are_read(record: Partial | Progress) -> None:
    """Sketchers wrote them with two columns in the header, and with their format in the second byte."""
    older = record
    if isinstance(record, Partial):
        record.counts[:, 2:HEADER] = 0
        header = record.counts[:, 2:HEADER]
        older = msgspec.structs.replace(record, counts=np.delete(record.counts, [2, 3][: header.shape[1]], axis=1))
    data = encode(older)
    assert plain(decode(data[:1] + b"\x01" + data[2:])) == plain(record)


def test_a_newer_format_is_rejected_with_advice() -> None:
    data = encode(Tally(model="m", topic="predictions"))
    for version in (0, 3, 255):
        advice = f"has format {version}; this monitor reads formats 1 to 2: upgrade it first"
        with pytest.raises(RecordError, match=advice):
            decode(data[:1] + bytes([version]) + data[2:])


def test_counts_of_a_field_that_this_version_does_not_know_are_rejected() -> None:
    layout = make_layout([2], [])
    pane = PaneSummary(layout, 60, False, layout.empty_counts() + 1, layout.empty_moments(), [None])
    for tail in (("invalid", "mystery"), ("invalid",) * 65, ("x" * 65,)):
        (partial,) = partials_of(pane)
        assert partial.tail == TAIL_KEYS
        partial.counts, partial.tail = np.ones((1, HEADER + 3 + len(tail)), dtype=np.int64), tail
        with pytest.raises(RecordError, match=r"upgrade it first|at most 64, of 64 characters"):
            make_series(layout).fit(decode(encode(partial)))  # type: ignore[arg-type]


@settings(max_examples=50)
@given(TALLIES, st.integers(100, 600))
def test_a_tally_that_is_too_large_is_split_without_loss(tally: Tally, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallies, "MAX_RECORD_BYTES", limit)
        written = list(tallies.encode_tally(tally))
    result = [decode(data) for data in written]
    for data, each in zip(written, result, strict=True):
        assert isinstance(each, Tally)
        assert len(data) <= limit or sum(len(getattr(each, name)) for name in tallies._LISTS) <= 1
        lists: dict[str, list[Any]] = {name: [] for name in tallies._LISTS}
        assert msgspec.structs.replace(each, **lists) == msgspec.structs.replace(tally, **lists)
    for name in tallies._LISTS:
        assert [row for each in result for row in getattr(each, name)] == getattr(tally, name)


def test_a_partial_of_the_largest_size_stays_under_the_limit() -> None:
    layout = make_layout([200] * 60, [60, 60])
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 2**31 - 1, (layout.n_slices, layout.width))
    pane = PaneSummary(layout, 60, False, counts, layout.empty_moments(), [None] * layout.n_fields)
    sketch = numeric_sketch(True, "kll")
    sketch.update(rng.normal(size=100_000))
    pane.slices = {
        (s, f): NumberSummary(rng.normal(size=4), sketch) for s in range(1, layout.n_slices) for f in (0, 3, 59)
    }
    messages = messages_of(pane, [OffsetRange(0, 0, 9)])
    assert len(messages) > 5
    # Random counts do not compress: real ones are smaller.
    assert max(map(len, messages)) <= MAX_RECORD_BYTES


def make_series(layout: Layout) -> Series:
    fields = tuple(
        Field(name=f.name, type="float" if f.kind == "numeric" else "category", source=f"features.{f.name}")
        for f in layout.fields
    )
    return Series("1", "b", CompiledBaseline.of(layout), Contract(model="m", pane_s=60, fields=fields))


def summary_of(values: FloatArray, *, integer: bool = False) -> NumberSummary:
    sketch = numeric_sketch(integer, "kll")
    sketch.update(values)
    return NumberSummary(np.array([values.sum(), (values**2).sum(), values.min(), values.max()]), sketch)


def random_pane(layout: Layout, rng: np.random.Generator) -> PaneSummary:
    """Whole numbers, because they add up exactly in any order."""
    counts = rng.integers(0, 3, (layout.n_slices, layout.width)) * rng.integers(0, 2, (layout.n_slices, 1))
    counts[0] += 1
    moments = layout.empty_moments()
    sketches: list[Any] = [None] * layout.n_fields
    retained = {}
    for i, field in enumerate(layout.fields):
        if field.kind != "numeric":
            continue
        if rng.random() < 0.8:
            summary = summary_of(rng.integers(-9, 9, 5).astype(float), integer=field.integer)
            moments[i], sketches[i] = summary.moments, summary.sketch
        for s in range(1, layout.n_slices):
            n = int(counts[s, layout.starts[i] : layout.starts[i] + field.n_cells - 1].sum())
            if n and rng.random() < 0.7:
                retained[s, i] = summary_of(rng.integers(-9, 9, n).astype(float), integer=field.integer)
    return PaneSummary(layout, 60, False, counts, moments, sketches, retained)


def kept_of_all(layout: Layout, panes: list[PaneSummary]) -> dict[tuple[int, int], tuple[int, list[float]]]:
    """Expected number of values and moments of slices, for those where each pane with values has moments."""
    result = {}
    for s in range(layout.n_slices):
        for f in range(layout.n_fields):
            cells = slice(int(layout.starts[f]), int(layout.starts[f] + layout.n_cells[f] - 1))
            having = [pane for pane in panes if pane.counts[s, cells].any()]
            all_rows = [pane.slices[s, f] for pane in having if (s, f) in pane.slices]
            if all_rows and len(all_rows) == len(having):
                moments = np.array([each.moments for each in all_rows])
                total = [*moments[:, :2].sum(axis=0), moments[:, 2].min(), moments[:, 3].max()]
                result[s, f] = sum(each.n for each in all_rows), total
    return result


def kept_of(series: Series, pane: Pane) -> dict[tuple[int, int], tuple[int, list[float]]]:
    return {
        (s, f): (numeric_sketch(False, "kll", each.sketch).n, each.moments.tolist())
        for (s, f), each in pane.slice_sketches.items()
    }


@settings(max_examples=80)
@given(LAYOUTS, st.integers(1, 5), st.sampled_from([60, 300, 400_000]), st.integers(0, 2**32))
def test_parts_in_any_order_or_repeated_merge_to_the_sum(layout: Layout, flushes: int, budget: int, seed: int) -> None:
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    panes = [random_pane(layout, numbers) for _ in range(flushes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partial_messages, "_BUDGET_BYTES", budget)
        records = [partial for pane in panes for partial in partials_of(pane)]
    rng.shuffle(records)
    series = make_series(layout)
    merged = series.empty_pane(0)
    at, restarts = 0, rng.sample(range(len(records)), min(len(records), 4))
    while at < len(records):
        partial = records[at]
        series.fit(partial)
        series.merge(merged, partial, at, late=False)
        if at in restarts:
            restarts.remove(at)
            at = rng.randrange(at + 1)
        else:
            at += 1
    assert (merged.counts == sum(pane.counts for pane in panes)).all()
    expected = layout.empty_moments()
    for pane in panes:
        expected[:, :2] += pane.moments[:, :2]
        expected[:, 2] = np.minimum(expected[:, 2], pane.moments[:, 2])
        expected[:, 3] = np.maximum(expected[:, 3], pane.moments[:, 3])
    np.testing.assert_array_equal(merged.moments, expected)
    for i, data in enumerate(merged.sketches):
        n = sum(sketch.n for sketch in (pane.sketches[i] for pane in panes) if sketch is not None)
        assert (series.codec.open(i, data).n if data else 0) == n
    assert kept_of(series, merged) == kept_of_all(layout, panes)
    # Rows of the table hold it all, and panes merge to hours as partials do to panes.
    columns = pane_columns(series, [merged], 0, 60, np.ones(1, dtype=bool))
    loaded = restore_panes(
        series, table_of("panes", columns).set_column(6, "pane_start", pa.array(columns["pane_start"]))
    )
    assert kept_of(series, loaded[0]) == kept_of(series, merged)
    # A slice without values of a field has no row.
    has_row = loaded[0].record_seq[:, 1:] >= 0
    assert has_row[0].all()
    assert (loaded[0].record_seq[:, 1:] == np.where(has_row, merged.record_seq[:, 1:], -1)).all()
    cells = np.repeat(has_row, layout.n_cells + TAIL, axis=1)
    assert (loaded[0].counts[:, HEADER:] == merged.counts[:, HEADER:] * cells).all()
    np.testing.assert_array_equal(loaded[0].moments, merged.moments)
    assert loaded[0].sketches == merged.sketches
    cut = rng.randrange(1, flushes + 1)
    halves = [summed(series, subset) for subset in (panes[:cut], panes[cut:]) if subset]
    both, at_once = merge(series, 0, halves), merge(series, 0, [summed(series, [pane]) for pane in panes])
    assert kept_of(series, both) == kept_of(series, at_once) == kept_of_all(layout, panes)
    assert (both.counts == at_once.counts).all()


def summed(series: Series, panes: list[PaneSummary]) -> Pane:
    total = series.empty_pane(0)
    for record_seq, pane in enumerate(panes):
        for partial in partials_of(pane):
            series.merge(total, partial, record_seq, late=False)
    return total


def test_a_contract_with_other_sketches_does_not_break_existing_ones() -> None:
    layout = make_layout([3], [1])
    pane = random_pane(layout, np.random.default_rng(5))
    pane.counts += 1
    values = np.arange(9.0)
    pane.slices = {(1, 0): summary_of(values)}
    series = make_series(layout)
    total = summed(series, [pane, pane])
    assert numeric_sketch(False, "kll", total.slice_sketches[1, 0].sketch).n == 18
    # With the sketch for tails, sketches of the other kind are dropped and no partial is dead-lettered.
    fields = tuple(msgspec.structs.replace(field, sketch="req") for field in series.contract.fields)
    series.contract = msgspec.structs.replace(series.contract, fields=fields)
    tail = numeric_sketch(False, "req")
    tail.update(values)
    pane.slices[1, 0].sketch, pane.sketches = tail, [None]
    for record_seq, partial in enumerate(partials_of(pane), 10):
        assert series.merge(total, partial, record_seq, late=False)
    assert total.slice_sketches == {}


@settings(max_examples=60)
@given(LAYOUTS, st.data())
def test_partials_of_another_shape_are_rejected(layout: Layout, data: st.DataObject) -> None:
    (partial,) = partials_of(random_pane(layout, np.random.default_rng(1)))
    change = data.draw(st.sampled_from(["pane_s", "slice_to", "field_to", "width"]))
    if change == "width":
        partial.counts = np.concatenate((partial.counts, partial.counts[:, :1]), axis=1)
    else:
        setattr(partial, change, getattr(partial, change) + 1)
    with pytest.raises(RecordError):
        make_series(layout).fit(partial)
