"""The native readers and pure Python give the same columns, rejected events, counts and raw rows, to the bit."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, Field, Slice
from hypothesis import example, given, settings
from hypothesis import strategies as st

from barograph_server.streams.events import native_reader
from barograph_server.streams.events.batch import Decoded, MessageBatch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.registry.registry import Registry, build_registry
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.fuzz.corpus import read_corpus
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import GOOD
from tests.property.test_streams_decode import REGISTRIES, as_json, tables
from tests.support.decoded import content, row_content
from tests.support.messages import NOW_MS

pytestmark = pytest.mark.skipif(native_reader.VERSION is None, reason="barograph-native is not installed")

MANY = build_registry(
    [
        (
            Contract(
                model=model,
                fields=(
                    Field(name="x", type="float", source="features.x"),
                    Field(name="é", type="int", source="features.é"),
                    Field(name="flag", type="bool", source="features.flag"),
                    Field(name="seen", type="timestamp", source="features.seen"),
                    Field(name="colour", type="category", source="features.colour"),
                    Field(name="h", type="category", source="features.h", pii="hash"),
                    Field(name="kind", type="category", source="class"),
                    Field(name="score", type="float", source="score"),
                    Field(name="scores.a", type="float", source="scores.a"),
                    *((Field(name="confidence", type="float", source="confidence"),) if model == "all" else ()),
                    Field(name="tokens", type="int", source="metrics.tokens"),
                    Field(name="latency", type="float", source="latency_ms"),
                ),
                slices=(Slice(name="region", source="context.region"), Slice(name="arm", source="arm")),
            ),
            i,
        )
        for i, model in enumerate(("toy", "all", 'quoted "name"', "ünïcode"))
    ],
    [],
)
HALF = build_registry([(msgspec.structs.replace(each, raw_share=0.5), 0) for each in MANY.contracts.values()], [])
EVENT: dict[str, Any] = {"model": "toy", "version": "1", "id": "e", "at": NOW_MS, "features": {"x": 1.5}}
NUMBERS = st.sampled_from(
    [
        *("0", "-0", "-0.0", "1", "1.0", "71.6", "1e5", "1E-7", "-12.75", "0.1", "0.30000000000000004", "1e400"),
        *("9007199254740993", "123456789012345678", "1234567890123456789", "18446744073709551617", "1" + "0" * 400),
        *("5e-324", "2.2250738585072011e-308", "1.7976931348623157e308", "01", "1.", ".5", "-", "1e", "+1", "NaN"),
        *("Infinity", "true", "false", "null", '"1.5"', '"NaN"', "[]", "{}", "[1, {}]", "nul", "", '"', "1 ", "\t3"),
    ]
)
TEXTS = st.text(max_size=12).map(json.dumps) | st.text(max_size=12).map(lambda t: json.dumps(t, ensure_ascii=False))
ODD_TEXTS = st.sampled_from(
    [
        *(r'"\ud800"', r'"\ud83d\ude00"', r'"\u00e9"', r'"\x"', '"a\nb"', '"\x00"', '""', f'"{"k" * 300}"', "7"),
        *(f'"{"0" * 8}:{"1" * 32}"', '"shadow"', '"primary"', '"2026-09-21T14:13:20Z"', "[[[[1]]]]", "null"),
        "[" * 100 + "]" * 100,
    ]
)
MODELS = st.sampled_from(['"toy"', '"toy"', '"all"', r'"t\u006fy"', '"quoted \\"name\\""', '"ünïcode"'])
VALUES = NUMBERS | TEXTS | ODD_TEXTS | st.floats(allow_nan=False).map(repr) | st.integers().map(str)
PLAIN_NUMBERS = st.sampled_from(["0", "-0", "-0.0", "1", "1.5", "1e5", "5e-324", "123456789012345678", "null"])
PLAIN = PLAIN_NUMBERS | TEXTS | st.sampled_from(["true", "false", '"NaN"', '""', f'"{"0" * 8}:{"1" * 32}"'])
TOP = st.sampled_from(
    [
        *("model", "version", "id", "at", "error", "role", "producer", "seq", "score", "class", "latency_ms", "arm"),
        *("more", "status"),
    ]
)
NAMES = ["x", "é", "flag", "seen", "colour", "h", "region", "a", "b", "tokens", "more", r"\u0078"]
TIMES = [NOW_MS + 300_000, NOW_MS + 300_001, NOW_MS - 400 * 86_400_000, NOW_MS - 401 * 86_400_000]
DIGITS = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?", fullmatch=True)
SPACES = st.sampled_from(["", "", "", " ", "\n", "\t \r"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw a message that is an event but for what the strategies of values put into it."""
    members = {name: json.dumps(value) for name, value in EVENT.items() if name != "features"}
    members["model"] = draw(MODELS)
    members["id"] = draw(st.sampled_from(['"e"', '"f"', r'"\u0065"', '"é"', '""', "1"]))
    is_plain = draw(st.booleans())
    members["at"] = draw(st.sampled_from([str(NOW_MS), *map(str, () if is_plain else TIMES)]))
    for name in draw(st.lists(TOP, max_size=1 if is_plain else 3)):
        members[name] = draw(VALUES)
    for group in draw(st.lists(st.sampled_from(["features", "context", "scores", "metrics"]), unique=True)):
        values = (PLAIN_NUMBERS if group in ("scores", "metrics") else PLAIN) if is_plain else VALUES
        unique = (lambda pair: pair[0]) if is_plain else None
        pairs = draw(st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=6, unique_by=unique))
        members[group] = "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"
    order = draw(st.permutations(list(members))) if draw(st.booleans()) else list(members)
    space = draw(SPACES)
    text = f",{space}".join(f'"{name}"{space}:{space}{members[name]}' for name in order)
    value = f"{space}{{{space}{text}{space}}}{space}".encode("utf-8", "surrogatepass")
    if not draw(st.integers(0, 9)):
        at = draw(st.integers(0, len(value)))
        value = value[:at] + draw(st.sampled_from([b"", b"\xff", b'"', b",", b"}", b"{"])) + value[at + 1 :]
    return value


def batch_of(values: Sequence[bytes | None]) -> MessageBatch:
    n = len(values)
    partition = np.arange(n, dtype=np.int32) % 3
    return MessageBatch(list(values), partition, np.arange(n, dtype=np.int64), np.full(n, NOW_MS, dtype=np.int64))


def decode(registry: Registry, values: Sequence[bytes | None], *, native: bool, portion: int = 1_000) -> Decoded:
    accumulator = JsonDecoder(registry, native=native).accumulator()
    batch = batch_of(values)
    for start in range(0, len(batch), portion):
        accumulator.add(batch.select(slice(start, start + portion)))
    return accumulator.take()


def counted(registry: Registry, decoded: Decoded) -> dict[Any, Any]:
    """Return the exact counts, the moments to the bit, and the sizes and extremes of the sketches."""
    summaries = FlushSummaries(registry)
    for events in decoded.events:
        summaries.add(events.without_shadows())
    return {
        key: (
            pane.counts.tobytes(),
            pane.moments.tobytes(),
            [None if sketch is None else getattr(sketch, "n", None) for sketch in pane.sketches],
            {
                at: (each.moments.tobytes(), None if each.sketch is None else each.sketch.n)
                for at, each in pane.slices.items()
            },
        )
        for key, pane in summaries.panes.items()
    }


def compare(registry: Registry, values: Sequence[bytes | None], portion: int = 1_000) -> None:
    native = decode(registry, values, native=True, portion=portion)
    pure = decode(registry, values, native=False, portion=portion)
    assert content(native) == content(pure)
    assert counted(registry, native) == counted(registry, pure)
    assert recorded(registry, values, native=True) == recorded(registry, values, native=False)


def recorded(registry: Registry, values: Sequence[bytes | None], *, native: bool) -> list[Any]:
    rows = JsonRows(registry, native=native)
    retained = rows.sample(list(values))
    tables = rows.rows(batch_of(values).select(np.array(retained, dtype=np.int64)))
    assert rows.read_by["panics"] == 0
    return row_content(tables)


@settings(max_examples=400)
@given(st.lists(messages(), min_size=1, max_size=8), st.integers(1, 8))
@example([b'{"model":"toy","version":"1","id":"e","at":1790000000000,"features":{"x":1,"x":2}}'], 1)
@example([b'{"model":"toy","version":"1","id":"e","at":1790000000000,"class":1%s}' % (b"0" * 400)], 1)
@example([b'{"model":"all","version":"1","id":"e","at":1790000000000,"scores":{"a":1,"b":2,"a":0}}'], 1)
def test_any_messages(values: list[bytes], portion: int) -> None:
    compare(MANY, values, portion)
    assert recorded(HALF, values, native=True) == recorded(HALF, values, native=False)


@settings(max_examples=60)
@given(tables(), st.booleans(), st.sampled_from(REGISTRIES))
def test_tables(table: Any, keep_nulls: bool, registry: Registry) -> None:
    compare(registry, [as_json(row, keep_nulls) for row in table.to_pylist()])


@settings(max_examples=400)
@given(NUMBERS | DIGITS | st.floats(allow_nan=False).map(repr) | st.integers().map(str))
def test_every_number_is_the_same_float(number: str) -> None:
    compare(MANY, [b'{"model":"toy","version":"1","id":"e","at":1790000000000,"features":{"x":%s}}' % number.encode()])


def test_the_corpus_of_the_fuzzer() -> None:
    inputs = [*seeds()["predictions-json"], *read_corpus("predictions-json")]
    assert len(inputs) > 10
    for registry in (MANY, HALF, *REGISTRIES):
        for value in inputs:
            compare(registry, [GOOD, value, GOOD])
        compare(registry, inputs, 7)


def test_plain_events_are_read_natively() -> None:
    """Otherwise the comparisons above would compare pure Python with itself."""
    decoder = JsonDecoder(MANY)
    reader = decoder.lend_reader()
    assert reader is not None
    plain = [json.dumps(EVENT | {"features": {"x": i, "colour": "é", "flag": True}}).encode() for i in range(9)]
    assert len(reader.add(batch_of(plain))) == 0
    left = reader.add(batch_of([*plain, b"", None, b"[]", json.dumps(EVENT | {"at": "soon"}).encode()]))
    assert len(left) == 4
    assert reader.panics == 0
    rows = JsonRows(MANY)
    rows.rows(
        batch_of([*plain, *(json.dumps(EVENT | {"context": {"more": i}, "class": i}).encode() for i in range(9))])
    )
    rows.rows(batch_of([b"", None, json.dumps(EVENT | {"more": 1}).encode()]))
    assert rows.read_by == {"native": 18, "python": 3, "panics": 0}
