import json
import math
from typing import Any
from unittest.mock import Mock

import msgspec
import pyarrow as pa
import pytest
from barograph.contract import Field, Slice
from barograph.events import encode_arrow
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.sketches.baseline.baseline import SliceValues
from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import Decoded
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.events.hashed_values import StructNumbers
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.messages import NOW_MS, batch_of
from tests.support.pipeline import simple_baseline, simple_contract, with_dimension

ALL_OF_IT = "context.region * features.k * features.flag * features.colour"


def make_registry(*, confidence: bool, crossed: bool) -> Registry:
    contract = simple_contract(
        slices=(
            Slice(name="region", source="context.region", sketches=("x", "k")),
            Slice(name="all of it", source=ALL_OF_IT, sketches=("flag", "score", "nobody")),
        )
    )
    # `seen` and `kind` have no baseline but are decoded.
    more: tuple[Field, ...] = (
        Field(name="seen", type="timestamp", source="features.seen"),
        Field(name="kind", type="category", source="class"),
        Field(name="score", type="float", source="score"),
        Field(name="scores.a", type="float", source="scores.a"),
        Field(name='scores.odd "name', type="float", source='scores.odd "name'),
    )
    if confidence:
        more = (*more, Field(name="confidence", type="float", source="confidence"))
    contract = msgspec.structs.replace(contract, fields=(*contract.fields, *more))
    baseline = simple_baseline(rows=500)
    if crossed:
        baseline = with_dimension(
            baseline,
            SliceValues(
                name="all of it",
                source=ALL_OF_IT,
                values=("north * 2 * 1 * red", "north * 2 * 1 * green", "south * -1 * 0 * red", "nonsense"),
                trained=False,
            ),
        )
    return build_registry([(contract, 1)], [RegisteredBaseline(baseline, baseline.id, 0, 1)])


REGISTRIES = [
    make_registry(confidence=confidence, crossed=crossed) for confidence in (False, True) for crossed in (False, True)
]
REGISTRY = REGISTRIES[0]

FLOATS = st.one_of(
    st.floats(width=64),
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7e308, 2.0**24 + 1, 2.0**53]),
)
INTEGERS = st.one_of(
    st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**24 + 1, 2**53 + 1, -(2**53) - 1])
)
COLUMNS: dict[str, st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]] = {
    "features.x": st.sampled_from(
        [(pa.float64(), FLOATS), (pa.float32(), st.floats(width=32)), (pa.int64(), INTEGERS), (pa.null(), st.none())]
    ),
    "features.k": st.sampled_from(
        [(pa.int64(), INTEGERS), (pa.int32(), st.integers(-(2**31), 2**31 - 1)), (pa.uint8(), st.integers(0, 255))]
    ),
    "features.flag": st.sampled_from([(pa.bool_(), st.booleans()), (pa.int8(), st.sampled_from([0, 1, 7]))]),
    "features.colour": st.sampled_from(
        [
            (pa.string(), st.text(max_size=3) | st.sampled_from(["red", "green", "pink"])),
            (pa.large_string(), st.sampled_from(["red", "", "é"])),
            (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["red", "blue"])),
            (pa.int64(), st.integers(0, 3)),
        ]
    ),
    "features.seen": st.sampled_from([(pa.int64(), st.integers(0, 2**41)), (pa.float64(), st.floats(0, 1e12))]),
    "context.region": st.sampled_from([(pa.string(), st.sampled_from(["north", "south", "west"]))]),
    "class": st.sampled_from(
        [(pa.string(), st.text(max_size=2)), (pa.bool_(), st.booleans()), (pa.int64(), st.integers(-3, 3))]
    ),
    "score": st.sampled_from([(pa.float64(), FLOATS)]),
    "scores.a": st.sampled_from(
        [
            (pa.float64(), FLOATS),
            (pa.float32(), st.floats(width=32)),
            (pa.int64(), INTEGERS),
            (pa.bool_(), st.booleans()),
        ]
    ),
    "scores.b": st.sampled_from([(pa.float64(), FLOATS), (pa.string(), st.text(max_size=2)), (pa.null(), st.none())]),
    'scores.odd "name': st.sampled_from([(pa.float64(), st.floats(0, 1))]),
    "error": st.sampled_from([(pa.string(), st.sampled_from(["", "timeout"]))]),
    "features.not_asked_for": st.sampled_from([(pa.string(), st.text(max_size=3))]),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Draw predictions as a table. Any optional column may be missing, any value null."""
    n = draw(st.integers(0, 6))
    at = st.integers(NOW_MS - 40 * 3_600_000, NOW_MS)
    columns: dict[str, Any] = {
        "model": ["toy"] * n,
        "version": draw(st.lists(st.sampled_from(["1", "2"]), min_size=n, max_size=n)),
        "id": [f"e{i}" for i in range(n)],
        "at": pa.array(draw(st.lists(at, min_size=n, max_size=n)), pa.int64()),
    }
    if draw(st.booleans()):
        columns["at"] = columns["at"].cast(pa.timestamp("ms", "UTC"))
    for name, kinds in COLUMNS.items():
        if draw(st.integers(0, 4)):
            kind, values = draw(kinds)
            columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=n, max_size=n)), kind)
    schema = {name: getattr(values, "type", pa.string()) for name, values in columns.items()}
    return pa.table(columns, schema=pa.schema(schema))


def as_json(row: dict[str, Any], keep_nulls: bool) -> bytes:
    """Encode an event as the publisher does: floats that JSON cannot hold become strings."""
    event: dict[str, Any] = {}
    for name, value in row.items():
        if name == "at":
            value = value if isinstance(value, int) else round(value.timestamp() * 1000)
        if isinstance(value, float) and not math.isfinite(value):
            value = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        if value is None and not keep_nulls:
            continue
        group, _, member = name.partition(".")
        if member:
            event.setdefault(group, {})[member] = value
        else:
            event[name] = value
    return json.dumps(event).encode()


def by_event(decoded: Decoded) -> list[tuple[Any, ...]]:
    assert not decoded.rejected
    rows = []
    for events in decoded.events:
        numbers = {source: values.tolist() for source, values in events.numbers.items()}
        texts = {
            source: (values.cast(pa.string()) if pa.types.is_dictionary(values.type) else values).to_pylist()
            for source, values in events.texts.items()
        }
        for i in range(len(events)):
            # Either infinity marks an invalid value.
            members: dict[str, Any] = {
                s: repr(v[i]) if math.isfinite(v[i]) else "invalid" for s, v in numbers.items() if not math.isnan(v[i])
            }
            members |= {s: v[i] for s, v in texts.items() if v[i] is not None}
            version = events.versions[events.version_code[i]]
            rows.append((version, int(events.at_ms[i]), bool(events.errors[i]), sorted(members.items())))
    return rows


def summaries(events: list[EventColumns], registry: Registry = REGISTRY) -> dict[Any, Any]:
    gathered = FlushSummaries(registry)
    for columns in events:
        gathered.add(columns)
    return {
        key: (
            pane.counts.tolist(),
            # Sums may differ in their last bits if additions are grouped differently.
            [f"{value:.9e}" for value in (pane.moments + 0.0).ravel().tolist()],
            [
                *(sketch is not None for sketch in pane.sketches),
                *sorted((i, retained.n, retained.moments[2:].tolist()) for i, retained in pane.slices.items()),
            ],
        )
        for key, pane in gathered.panes.items()
    }


@settings(max_examples=60)
@given(tables(), st.booleans(), st.sampled_from(REGISTRIES))
def test_the_three_decoders_agree(table: pa.Table, keep_nulls: bool, registry: Registry) -> None:
    values = [as_json(row, keep_nulls) for row in table.to_pylist()]
    typed = JsonDecoder(registry).decode(batch_of(*values))
    tolerant_decoder = JsonDecoder(registry)
    # Refused by the typed decoder, each event takes the tolerant path.
    tolerant_decoder._decoder = Mock(decode=Mock(side_effect=msgspec.DecodeError("refused")))
    tolerant = tolerant_decoder.decode(batch_of(*values))
    arrow = ArrowDecoder(registry).decode(batch_of(encode_arrow(table)))
    assert by_event(tolerant) == by_event(typed)
    assert by_event(arrow) == by_event(typed)
    assert sum(map(len, typed.events)) == table.num_rows
    target = summaries(typed.events, registry)
    assert summaries(tolerant.events, registry) == target
    assert summaries(arrow.events, registry) == target


def test_integers_beyond_floats_are_rejected() -> None:
    for row in ([10**400], [1.0, 10**400], [None, 10**400]):
        names = [f"m{i}" for i in range(len(row))]
        kind = msgspec.defstruct("kind", [(name, Any, None) for name in names], gc=False)
        with pytest.raises(OverflowError):
            StructNumbers(names, all_members=True).read([kind(*row)])
