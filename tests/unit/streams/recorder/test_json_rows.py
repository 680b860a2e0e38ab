"""JSON predictions → raw rows, compared with a plain Python reference of one event at a time."""

from __future__ import annotations

import json
import math
import zlib
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from barograph.contract import Contract, Field, Slice
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.recorder import json_rows
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.registry.registry import build_registry
from tests.support.messages import NOW_MS, batch_of
from tests.support.poison import KINDS

batch = partial(batch_of, partition=3, first=100)
CONTRACT = Contract(
    model="toy",
    fields=(
        Field(name="x", type="float", source="features.x"),
        Field(name="flag", type="bool", source="features.flag"),
        Field(name="colour", type="category", source="features.colour"),
        Field(name="score", type="float", source="score"),
        Field(name="cost", type="float", source="metrics.cost"),
    ),
    slices=(Slice(name="region", source="context.region"), Slice(name="kind", source="features.kind")),
    ignored={"note": "free text"},
)
REGISTRY = build_registry([(CONTRACT, 1), (Contract(model="other"), 1)], [])
RAW = JsonRows(REGISTRY)
KNOWN = {
    *("model", "version", "id", "at", "arm", "context", "features", "score", "class", "scores", "metrics"),
    *("latency_ms", "status", "error", "role", "producer", "seq"),
}
SPELLED = ("NaN", "Infinity", "-Infinity")


def rows(values: list[bytes | None], raw: JsonRows = RAW) -> list[dict[str, Any]]:
    result = raw.rows(batch(*values))
    return sorted(pa.concat_tables(result).to_pylist(), key=lambda row: row["offset"]) if result else []


def text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    return float(value) if isinstance(value, int | float) or value in SPELLED else None


def reference(event: dict[str, Any], offset: int) -> dict[str, Any]:
    numbers, strings, nulls = {}, {}, []
    known = ("x", "flag", "colour", "kind", "note") if event["model"] == "toy" else ()
    numeric = ("x", "flag") if event["model"] == "toy" else ()
    unknown = sum(name not in KNOWN and value is not None for name, value in event.items())
    for name, value in (event.get("features") or {}).items():
        unknown += name not in known and value is not None
        if value is None:
            nulls.append(name)
        elif isinstance(value, bool | int | float) or (value in SPELLED and name in numeric):
            numbers[name] = float(value)
        else:
            strings[name] = text(value)
    maps = {}
    for name in ("scores", "metrics"):
        members = {key: value for key, value in (event.get(name) or {}).items() if value is not None}
        maps[name] = {key: number(value) for key, value in members.items() if number(value) is not None}
        unknown += len(members) - len(maps[name])
    plain = {}
    for name in ("score", "latency_ms"):
        value = event.get(name)
        unknown += value is not None and number(value) is None
        plain[name] = math.nan if number(value) is None else number(value)
    seq = event.get("seq")
    return {
        "partition": 3,
        "offset": offset,
        "message_index": 0,
        "received_at": NOW_MS,
        "model": event["model"],
        "version": event["version"],
        "id": event["id"],
        "at": event["at"],
        "arm": text(event.get("arm")),
        "class": text(event.get("class")),
        "status": text(event.get("status")),
        "producer": text(event.get("producer")),
        "error": text(event["error"]) if event.get("error") else "",
        "context": {key: text(value) for key, value in (event.get("context") or {}).items() if value is not None},
        "numbers": numbers,
        "strings": strings,
        "nulls": set(nulls),
        "seq": seq if type(seq) is int and 0 <= seq < 2**63 else -1,
        "unknown": unknown,
        "shadow": event.get("role") == "shadow",
        **maps,
        **plain,
    }


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with maps as dicts, times as Unix ms and NaN as text, so that rows compare equal."""
    result = dict(row)
    for name in ("context", "numbers", "strings", "scores", "metrics"):
        result[name] = {key: repr(value) for key, value in dict(result[name]).items()}
    for name in ("at", "received_at"):
        if not isinstance(result[name], int):
            result[name] = round(result[name].timestamp() * 1000)
    for name in ("score", "latency_ms"):
        result[name] = repr(result[name])
    result["nulls"] = set(result["nulls"])
    return result


scalars = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=5)
    | st.sampled_from(SPELLED)
)
values = scalars | st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(max_size=2), st.integers(), max_size=1)
whole = st.fixed_dictionaries(
    {"x": scalars, "flag": st.booleans(), "colour": scalars, "kind": values}, optional={"note": values}
)
features = st.dictionaries(st.sampled_from(["x", "flag", "colour", "kind", "note", "more", "é"]), values, max_size=7)
events = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["toy", "toy", "other"]),
        "version": st.sampled_from(["1", "2"]),
        "id": st.text(min_size=1, max_size=4),
        "at": st.integers(NOW_MS - 1000, NOW_MS + 1000),
    },
    optional={
        "features": whole | features | st.none(),
        "context": st.none() | st.dictionaries(st.sampled_from(["region", "b"]), values),
        "metrics": st.none() | st.dictionaries(st.sampled_from(["cost", "tokens"]), values),
        "scores": st.none() | st.dictionaries(st.sampled_from(["late", "early"]), values),
        "seq": st.integers(-2, 2**70) | values,
        "extra": values,
        "role": st.sampled_from(["primary", "shadow", None]),
        **{name: values for name in ("arm", "class", "status", "error", "producer", "score", "latency_ms")},
    },
)


@settings(max_examples=100)
@given(st.lists(events, min_size=1, max_size=6))
def test_rows_equal_the_reference(given_events: list[dict[str, Any]]) -> None:
    result = rows([json.dumps(event).encode() for event in given_events])
    expected = [reference(event, 100 + i) for i, event in enumerate(given_events)]
    assert [comparable(row) for row in result] == [comparable(row) for row in expected]


@settings(max_examples=60)
@given(st.lists(events, min_size=1, max_size=12))
def test_rows_do_not_depend_on_the_chunks(given_events: list[dict[str, Any]]) -> None:
    sent: list[bytes | None] = [json.dumps(event).encode() for event in given_events]
    whole = [comparable(row) for row in rows(sent)]
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("CONTRACT_CHUNK", 2), ("OPEN_CHUNK", 3), ("CHUNK", 7)):
            patch.setattr(json_rows, name, size)
        assert [comparable(row) for row in rows(sent)] == whole


NUMERIC = Contract(
    model="toy",
    fields=tuple(Field(name=f"x{i}", type="float", source=f"features.x{i}") for i in range(4)),
    slices=(Slice(name="late", source="features.late"),),
)
numbers = (
    st.none()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(2**24 - 3, 2**24 + 3)
    | st.integers(2**53 - 3, 2**53 + 3)
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([-0.0, 0.0, True, False, 5e-324, *SPELLED])
)


@settings(max_examples=100)
@given(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=8), st.integers(1, 4))
def test_numbers_are_recorded_exactly(drawn: list[list[Any]], n_fields: int) -> None:
    contract = msgspec.structs.replace(NUMERIC, fields=NUMERIC.fields[:n_fields])
    raw = JsonRows(build_registry([(contract, 1)], []))
    head = {"model": "toy", "version": "1", "id": "a", "at": NOW_MS}
    sent = [{f"x{i}": value for i, value in enumerate(each[:n_fields])} | {"late": i} for i, each in enumerate(drawn)]
    result = rows([json.dumps(head | {"features": features}).encode() for features in sent], raw)
    for features, row in zip(sent, result, strict=True):
        expected = {name: repr(float(value)) for name, value in features.items() if value is not None}
        assert {name: repr(value) for name, value in row["numbers"]} == expected
        assert row["strings"] == []
        assert set(row["nulls"]) == {name for name, value in features.items() if value is None}


@settings(max_examples=60)
@given(st.lists(st.tuples(events, st.sampled_from(["", "cut", "x", "invalid UTF-8"])), min_size=1, max_size=8))
def test_a_share_records_the_rows_that_the_hash_selects(given_events: list[tuple[dict[str, Any], str]]) -> None:
    sent: list[bytes | None] = []
    for event, harm in given_events:
        data = json.dumps(event).encode()
        odd = {
            "": data,
            "cut": data[:-3],
            "x": data.replace(b'"id"', b'"ID"'),
            "invalid UTF-8": data[:-1] + b',"q":"\xff"}',
        }
        sent.append(odd[harm])
    shared = JsonRows(build_registry([(msgspec.structs.replace(CONTRACT, raw_share=0.4), 1)], []))
    whole = [row for row in rows(sent) if row["model"] == "toy"]
    chosen = [comparable(row) for row in whole if zlib.crc32(row["id"].encode()) < 0.4 * 2**32]
    assert [comparable(row) for row in rows(sent, shared)] == chosen
    sampled = [sent[i] if i in set(shared.sample(sent)) else None for i in range(len(sent))]
    assert [comparable(row) for row in rows(sampled, shared)] == chosen
    assert list(RAW.sample(sent)) == list(range(len(sent)))


def test_events_that_the_sketcher_rejects_are_not_recorded() -> None:
    event = {
        **{"model": "toy", "version": "1", "id": "a", "at": NOW_MS},
        "features": {"x": 0.5, "k": 3, "flag": True, "colour": "red"},
        "context": {"region": "north"},
    }
    good = json.dumps(event).encode()
    for kind in (kind for kind in KINDS if kind.headers is None):
        value = kind.make(json.loads(good))
        counted = JsonDecoder(REGISTRY).decode(batch(good, value)).events
        assert len(rows([good, value])) == sum(map(len, counted)) == (2 if kind.reason is None else 1), kind.name
    assert rows([good, b"", None], JsonRows(build_registry([], []))) == [], "without models there are no rows"


ODD: dict[str, tuple[bytes, dict[str, Any]]] = {
    "invalid UTF-8 in a member that no field needs": (b'"context":{"q":"\xff"}', {"context": {"q": "�"}}),
    "half a surrogate pair": (b'"status":"\\ud800"', {"status": "?"}),
    "half a surrogate pair in a key": (b'"context":{"\\ud800":"x"}', {"context": {"?": "x"}}),
    "half a surrogate pair in a list": (
        b'"features":{"more":["\\ud800"]}',
        {"strings": {"more": '["?"]'}, "unknown": 1},
    ),
    "a number of thousands of digits": (
        b'"features":{"x":1,"more":' + b"1" * 5000 + b"}",
        {"numbers": {"x": 1.0}, "strings": {"more": "1" * 5000}, "unknown": 1},
    ),
    "a number beyond the floats": (b'"features":{"more":1e999}', {"numbers": {"more": math.inf}, "unknown": 1}),
    "a list instead of a map that no field needs": (b'"scores":[1]', {"scores": {}, "unknown": 1}),
    "deep nesting in a member that no field needs": (b'"status":' + b"[" * 900 + b"]" * 900, {}),
    "a whole number beyond 64 bits": (b'"seq":%d' % 2**70, {"seq": -1}),
}


def test_irregular_bytes_that_are_counted_are_recorded() -> None:
    for name, (member, expected) in ODD.items():
        value = b'{"model":"toy","version":"1","id":"a","at":%d,%s}' % (NOW_MS, member)
        assert sum(map(len, JsonDecoder(REGISTRY).decode(batch(value)).events)) == 1, name
        (row,) = rows([value])
        result = {key: dict(row[key]) if isinstance(row[key], list) else row[key] for key in expected}
        assert repr(result) == repr(expected), name
