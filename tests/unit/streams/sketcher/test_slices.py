"""Which slice an event belongs to: single sources and crossed ones, against one look at each event."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import CROSS
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.sketches.baseline.baseline import SliceValues
from barograph_server.streams.events.columns import INVALID_TEXT, EventColumns
from barograph_server.streams.sketcher.slices import SliceCoder, number_of

MEMBERS: dict[str, list[Any]] = {
    "context.a": ["x", "y", "z", None, "", "x * y", INVALID_TEXT],
    "context.b": ["x", "q", None],
    "features.k": [0.0, -0.0, 1.0, 2.5, -3.0, np.nan, np.inf, -np.inf, 1e22],
}
NAMES = {
    "context.a": ["x", "y", ""],
    "context.b": ["x", "q"],
    "features.k": ["0", "1", "2.5", "-3", "10000000000000000000000"],
}


def events_of(columns: dict[str, list[Any]]) -> EventColumns:
    n = len(next(iter(columns.values())))
    zeros = np.zeros(n, dtype=np.int64)
    narrow = np.zeros(n, dtype=np.int32)
    numbers = {s: np.array(v, dtype=np.float64) for s, v in columns.items() if s.startswith("features")}
    texts = {s: pa.array(v, pa.string()) for s, v in columns.items() if s.startswith("context")}
    return EventColumns(
        "m", zeros, zeros, narrow, zeros, narrow, ("1",), narrow, np.zeros(n, dtype=bool), numbers, texts
    )


def name_of(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if not np.isfinite(value):
        return None
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def looked_up(dimension: SliceValues, columns: dict[str, list[Any]], row: int) -> int:
    names = [name_of(columns[source][row]) for source in dimension.sources]
    other = len(dimension.values)
    if any(name is None or (len(names) > 1 and CROSS in name) for name in names):
        return other
    joined = CROSS.join(name or "" for name in names)
    return dimension.values.index(joined) if joined in dimension.values else other


@settings(max_examples=60)
@given(st.data())
def test_codes_equal_a_lookup_of_each_event(data: st.DataObject) -> None:
    sources = data.draw(st.lists(st.sampled_from(list(MEMBERS)), min_size=1, max_size=3, unique=True))
    value = st.tuples(*(st.sampled_from(NAMES[source]) for source in sources)).map(CROSS.join)
    values = data.draw(st.lists(value | st.sampled_from(["x", "x * y * x * 0"]), max_size=12, unique=True))
    dimension = SliceValues(name="d", source=CROSS.join(sources), values=tuple(values), trained=True)
    rows = data.draw(st.integers(1, 30))
    columns = {s: data.draw(st.lists(st.sampled_from(MEMBERS[s]), min_size=rows, max_size=rows)) for s in sources}
    counts = SliceCoder(dimension).codes(events_of(columns)).tolist()
    assert counts == [looked_up(dimension, columns, row) for row in range(rows)]


def test_dictionaries_are_texts_and_a_missing_source_and_a_huge_value_are_other() -> None:
    dimension = SliceValues(name="d", source="context.a * context.b", values=("x * q", "y * q"), trained=True)
    events = events_of({"context.a": ["x", "y", "z" * (1 << 20)], "context.b": ["q", "q", "q"]})
    assert SliceCoder(dimension).codes(events).tolist() == [0, 1, 2]
    assert SliceCoder(dimension).codes(events_of({"context.a": ["x"]})).tolist() == [2]
    events = events_of({"context.a": ["x", None, "y"]})
    events.texts["context.a"] = events.texts["context.a"].dictionary_encode()
    dimension = SliceValues(name="d", source="context.a", values=("y",), trained=True)
    assert SliceCoder(dimension).codes(events).tolist() == [1, 1, 0]


def test_a_number_has_one_name() -> None:
    assert [number_of(name) for name in ("3", "-3", "2.5")] == [3.0, -3.0, 2.5]
    for name in ("3.0", "1e3", "-0", "1_000", " 1", "nan", "inf", "x"):
        assert number_of(name) is None, name
