import json
import math
import threading
import zlib
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract, Field, Slice
from barograph.contract.label_values import label_text
from barograph.events import encode_arrow
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.recorder import json_rows, recorder
from barograph_server.streams.recorder.arrow_rows import ArrowRows
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.recorder.labels import DecodedLabels, decode_arrow_labels, decode_json_labels
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.warehouse.errors import WarehouseBusy
from tests.support.fake_consumer import TOPIC, FakeConsumer, FakeMessage, assigned_consumer, fake_settings
from tests.support.messages import NOW_MS, batch_of
from tests.support.poison import ARROW_HEADERS, KINDS
from tests.support.sketching import toy_registry

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
RAW, PURE = JsonRows(REGISTRY), JsonRows(REGISTRY, native=False)
KNOWN = {
    *("model", "version", "id", "at", "arm", "context", "features", "score", "class", "scores", "metrics"),
    *("latency_ms", "status", "error", "role", "producer", "seq"),
}
SPELLED = ("NaN", "Infinity", "-Infinity")


def rows(values: list[bytes | None], raw: JsonRows = RAW) -> list[dict[str, Any]]:
    return in_order(raw.rows(batch(*values)))


def in_order(tables: Sequence[pa.Table]) -> list[dict[str, Any]]:
    read = [row for table in tables for row in table.to_pylist()]
    return sorted(read, key=lambda row: (row["offset"], row["message_index"]))


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
        **{"partition": 3, "offset": offset, "message_index": 0, "received_at": NOW_MS},
        **{name: event[name] for name in ("model", "version", "id", "at")},
        **{name: text(event.get(name)) for name in ("arm", "class", "status", "producer")},
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
@given(st.lists(events, min_size=1, max_size=12))
def test_rows_equal_the_reference_in_chunks_of_any_size(given_events: list[dict[str, Any]]) -> None:
    sent: list[bytes | None] = [json.dumps(event).encode() for event in given_events]
    expected = [comparable(reference(event, 100 + i)) for i, event in enumerate(given_events)]
    for raw in (RAW, PURE):
        assert [comparable(row) for row in rows(sent, raw)] == expected
        with pytest.MonkeyPatch.context() as patch:
            for name, size in (("CONTRACT_CHUNK", 2), ("OPEN_CHUNK", 3), ("CHUNK", 7)):
                patch.setattr(json_rows, name, size)
            assert [comparable(row) for row in rows(sent, raw)] == expected


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
@given(
    st.lists(
        st.tuples(events, st.sampled_from(["", "cut", "x", "invalid UTF-8", "again", "escaped", "model"])), min_size=1
    ),
    st.booleans(),
)
def test_a_share_records_the_rows_that_the_hash_selects(
    given_events: list[tuple[dict[str, Any], str]], native: bool
) -> None:
    sent: list[bytes | None] = []
    for event, harm in given_events:
        data = json.dumps(event).encode()
        odd = {
            "": data,
            "cut": data[:-3],
            "x": data.replace(b'"id"', b'"ID"'),
            "invalid UTF-8": data[:-1] + b',"q":"\xff"}',
            "again": data[:-1] + b',"id":"2","q":{"id":1}}',
            "escaped": data[:-1] + rb',"\u0069d":"2"}',
            "model": data[:-1] + b',"model":"other"}',
        }
        sent.append(odd[harm])
    shared = JsonRows(build_registry([(msgspec.structs.replace(CONTRACT, raw_share=0.4), 1)], []), native=native)
    whole = [row for row in rows(sent) if row["model"] == "toy"]
    chosen = [comparable(row) for row in whole if zlib.crc32(row["id"].encode()) < 0.4 * 2**32]
    assert [comparable(row) for row in rows(sent, shared)] == chosen
    sampled = [sent[i] if i in set(shared.sample(sent)) else None for i in range(len(sent))]
    assert [comparable(row) for row in rows(sampled, shared)] == chosen
    assert list(RAW.sample(sent)) == list(range(len(sent)))


def test_json_events_that_the_sketcher_rejects_are_not_recorded() -> None:
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
    for odd in (b'"id":"","id":"b"', b'"features":{"x":"off"}'):
        value = good[:-1] + b"," + odd + b',"more":"\xff"}'
        assert len(JsonDecoder(REGISTRY).decode(batch(value)).rejected) == 1, odd
        assert rows([value]) == rows([value], PURE) == [], odd
    assert rows([good, b"", None], JsonRows(build_registry([], []))) == [], "without models there are no rows"


ODD: dict[str, tuple[bytes, dict[str, Any]]] = {
    "invalid UTF-8 in a member that no field needs": (b'"context":{"q":"\xff"}', {"context": {"q": "�"}}),
    "half a surrogate pair": (b'"status":"\\ud800"', {"status": "?"}),
    "half a surrogate pair in a key": (b'"context":{"\\ud800":"x"}', {"context": {"?": "x"}}),
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


TWO_FIELDS = msgspec.structs.replace(CONTRACT, fields=CONTRACT.fields[0:3:2], slices=())
TABLES = build_registry([(TWO_FIELDS, 1), (Contract(model="other"), 1)], [])


def arrow_rows(*tables: pa.Table | bytes, registry: Any = TABLES) -> list[dict[str, Any]]:
    values: list[bytes | None] = [each if isinstance(each, bytes) else encode_arrow(each) for each in tables]
    return in_order(ArrowRows(registry).rows(batch(*values)))


def table(n: int = 2, /, **columns: Any) -> pa.Table:
    base = {
        "model": pa.array(["toy"] * n, pa.string()).dictionary_encode(),
        "version": pa.array(["1"] * n),
        "id": [f"e{i}" for i in range(n)],
        "at": pa.array([NOW_MS] * n, pa.timestamp("ms", "UTC")),
    }
    return pa.table(base | {name.replace("__", "."): column for name, column in columns.items()})


FEATURES: dict[str, tuple[pa.Array, Any]] = {
    "float": (pa.array([1.5, None]), 1.5),
    "half": (pa.array(np.array([1.5, 2], np.float16)), 1.5),
    "NaN": (pa.array([math.nan, None]), math.nan),
    "infinity": (pa.array([-math.inf, None], pa.float32()), -math.inf),
    "int": (pa.array([7, None], pa.uint64()), 7.0),
    "decimal": (pa.array([Decimal("1.25"), None]), 1.25),
    "flag": (pa.array([True, None]), 1.0),
    "time": (pa.array([1_500, None], pa.timestamp("us", "UTC")), 1.0),
    "date": (pa.array([date(1970, 1, 2), None]), 86_400_000.0),
    "text": (pa.array(["red", None]), "red"),
    "spelled": (pa.array(["NaN", None]), "NaN"),
    "view": (pa.array(["red", None], pa.string_view()), "red"),
    "dictionary": (pa.array(["red", None]).dictionary_encode(), "red"),
    "list": (pa.array([[1, 2], None]), "[1, 2]"),
    "struct": (pa.array([{"a": 1}, None]), '{"a": 1}'),
    "bytes": (pa.array([b"a", None]), "\"b'a'\""),
}


def test_features_of_all_types() -> None:
    for name, (column, expected) in FEATURES.items():
        first, second = arrow_rows(table(features__x=column, features__note=pa.nulls(2)))
        result = dict(first["strings" if isinstance(expected, str) else "numbers"])
        assert repr(result) == repr({"x": expected}), name
        assert first["nulls"] == ["note"], name
        if name != "half":
            assert (second["numbers"], second["strings"], set(second["nulls"])) == ([], [], {"x", "note"}), name


def test_rows_equal_those_of_json() -> None:
    events = [
        {
            **{"model": model, "version": version, "id": f"e{i}", "at": NOW_MS + i, "arm": arm},
            **{"producer": "p", "seq": i},
            "features": {"x": x, "colour": colour, "more": True},
            "context": {"region": "north"},
            "scores": {"late": 0.5},
            "metrics": {"cost": 0.25},
            **{"score": score, "class": "late", "latency_ms": 3.5, "status": "ok", "error": error},
        }
        for i, (model, version, arm, x, colour, score, error) in enumerate(
            [
                ("toy", "1", "a", 1.5, "red", 0.5, None),
                ("other", "1", None, 2.0, None, None, "Timeout"),
                ("toy", "2", "b", None, "blue", 1.0, None),
                ("nobody's", "2", "b", None, "blue", 1.0, None),
                ("toy", "2", "b", 0.0, "", 1.0, ""),
            ]
        )
    ]
    columns: dict[str, list[Any]] = {}
    for event in events:
        for name, value in event.items():
            members = {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
            for column, each in members.items():
                columns.setdefault(column, []).append(each)
    result = arrow_rows(encode_arrow(pa.table(columns)))
    values: list[bytes | None] = [json.dumps(event).encode() for event in events]
    expected = rows(values, JsonRows(TABLES))
    assert len(result) == len(expected) == 4

    for row, of_json in zip(result, expected, strict=True):
        own_position = {"offset": 100, "message_index": of_json["offset"] - 100}
        assert comparable(row) == comparable(of_json | own_position)


def test_positions_in_messages_of_several_schemas() -> None:
    bad = table(3, features__x=[0.0, 1.0, 2.0])
    bad = bad.set_column(bad.column_names.index("id"), "id", pa.array(["a", None, "c"]))
    result = arrow_rows(
        table(1, features__x=[9.0]), table(2), b"no Arrow", bad, table(0), table(2, features__x=[3.0, 4.0])
    )
    assert [
        (row["partition"], row["offset"], row["message_index"], row["id"], dict(row["numbers"]).get("x"))
        for row in result
    ] == [
        (3, 100, 0, "e0", 9.0),
        (3, 101, 0, "e0", None),
        (3, 101, 1, "e1", None),
        (3, 103, 0, "a", 0.0),
        (3, 103, 2, "c", 2.0),
        (3, 105, 0, "e0", 3.0),
        (3, 105, 1, "e1", 4.0),
    ]


def test_arrow_events_that_the_sketcher_rejects_are_not_recorded() -> None:
    for kind in (kind for kind in KINDS if kind.headers == ARROW_HEADERS):
        value: Any = kind.make({"model": "toy", "version": "1", "id": "a", "at": NOW_MS})
        counted = ArrowDecoder(TABLES).decode(batch(value)).events
        assert len(arrow_rows(value)) == sum(map(len, counted)) == kind.good_rows, kind.name


def test_the_share_is_sampled_by_the_hash_of_the_id() -> None:
    ids = [f"é{i}" for i in range(2000)]
    sent = encode_arrow(table(2000).set_column(2, "id", pa.array(ids)))

    def sampled(share: float) -> list[str]:
        shared = build_registry([(Contract(model="toy", raw_share=share), 1)], [])
        assert list(JsonRows(shared).sample([sent])) == [0], "its rows are sampled once it is decoded"
        return [row["id"] for row in arrow_rows(sent, registry=shared)]

    assert (sampled(1.0), sampled(0.0)) == (ids, [])
    quarter = sampled(0.25)
    assert quarter == [each for each in ids if zlib.crc32(each.encode()) < 2**30]
    assert set(quarter) < set(sampled(0.5))


DAY_MS = 86_400_000
MODELS = frozenset(["toy"])
LABEL: dict[str, Any] = {"model": "toy", "id": "a", "label": True, "at": NOW_MS}


def from_json(*values: Any) -> DecodedLabels:
    encoded = [each if isinstance(each, bytes) or each is None else json.dumps(each).encode() for each in values]
    return decode_json_labels(batch(*encoded), MODELS)


def from_arrow(**columns: Any) -> DecodedLabels:
    return decode_arrow_labels(batch(encode_arrow(pa.table(columns))), MODELS)


def label_rows(decoded: DecodedLabels) -> list[dict[str, Any]]:
    return [row for table in decoded.rows for row in table.to_pylist()]


def test_labels_of_all_types_are_the_same_in_json_and_arrow() -> None:
    for label, text, kind in (
        (True, "true", "bool"),
        (1, "1", "number"),
        (1.0, "1", "number"),
        (1e300, "1e+300", "number"),
        (2**62, "4611686018427387904", "number"),
        ("late", "late", "string"),
        ("true", "true", "string"),
    ):
        arrow = from_arrow(model=["toy"], id=["a"], label=[label], at=[NOW_MS])
        for decoded in (from_json({**LABEL, "label": label}), arrow):
            (row,) = label_rows(decoded)
            assert (row["label"], row["label_type"], row["model"], row["id"]) == (text, kind, "toy", "a")
            assert round(row["at"].timestamp() * 1000) == round(row["received_at"].timestamp() * 1000) == NOW_MS
            assert (row["partition"], row["offset"], row["message_index"]) == (3, 100, 0)
    for number in (0.1, 1 / 3, 2.0**53, 2.0**70, 5e-324):
        assert float(label_text(number)) == number, "the text has the same number"


BAD: dict[str, tuple[Any, str]] = {
    "empty": (b"", "empty"),
    "not JSON": (b"{nope", "not-json"),
    "invalid UTF-8": (b'{"model":"toy","id":"\xff","label":1,"at":1}', "not-json"),
    "a list": ([1], "not-an-object"),
    "deep": (b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too-deep"),
    "no model": ({**LABEL, "model": None}, "missing-model"),
    "unknown model": ({**LABEL, "model": "nobody's"}, "unknown-model"),
    "no id": ({**LABEL, "id": ""}, "missing-id"),
    "a time without zone": ({**LABEL, "at": "2026-09-21T14:13:20"}, "bad-time"),
    "the future": ({**LABEL, "at": NOW_MS + 301_000}, "future-time"),
    "no label": ({"model": "toy", "id": "a", "at": NOW_MS}, "wrong-type"),
    "a label that is a list": ({**LABEL, "label": [1]}, "wrong-type"),
    "a label that is NaN": ({**LABEL, "label": math.nan}, "wrong-type"),
}


def test_an_invalid_label_is_rejected() -> None:
    for name, (value, reason) in BAD.items():
        decoded = from_json(LABEL, value, LABEL)
        assert [row["offset"] for row in label_rows(decoded)] == [100, 102], name
        (dead,) = decoded.rejected
        original = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
        assert (dead.reason, dead.partition, dead.offset, dead.index, dead.value) == (reason, 3, 101, 0, original), name


def test_labels_off_the_format_are_read_if_possible() -> None:
    decoded = from_json(
        b'{"model":"toy","id":"a\\ud800","label":"b\\ud800","at":%d,"more":NaN}' % NOW_MS,
        {**LABEL, "at": "2026-09-21T14:13:20Z", "more": 1},
    )
    assert [(row["id"], row["label"]) for row in label_rows(decoded)] == [("a?", "b?"), ("a", "true")]
    assert decoded.rejected == []
    no_arrow = decode_arrow_labels(batch(b"nope", b"", None), MODELS)
    assert [str(dead.reason) for dead in no_arrow.rejected] == ["not-arrow", "empty", "empty"]


def test_an_invalid_row_does_not_cost_its_batch() -> None:
    decoded = from_arrow(
        model=pa.array(["toy", "nobody's", None, "toy", "toy", "toy", "toy", "toy"]).dictionary_encode(),
        id=["a", "b", "c", "", "e", "f", "g", "h"],
        label=[1.0, 1.0, 1.0, 1.0, math.nan, None, 1.0, 1.0],
        at=pa.array([NOW_MS] * 6 + [None, NOW_MS + DAY_MS], pa.timestamp("ms", "UTC")),
    )
    assert [(row["message_index"], row["id"]) for row in label_rows(decoded)] == [(0, "a")]
    reasons = {dead.index: str(dead.reason) for dead in decoded.rejected}
    assert reasons == {
        **{1: "unknown-model", 2: "missing-model", 3: "missing-id", 4: "wrong-type", 5: "wrong-type"},
        **{6: "missing-time", 7: "future-time"},
    }
    for dead in decoded.rejected:
        with pa.ipc.open_stream(dead.value) as reader:
            assert reader.read_all().num_rows == 1


def test_a_busy_warehouse_pauses_reading_and_loses_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    paused: list[bool] = []

    def on_fetch() -> None:
        nonlocal now_s
        now_s += recorder.BATCH_S / 2
        paused.append((TOPIC, 0) in fake.paused)

    client, transactions = Mock(), Mock()
    client.insert.side_effect = [WarehouseBusy("down"), None]
    connect = Mock(side_effect=[WarehouseBusy("unreachable"), client, client])
    event = {"model": "toy", "version": "1", "id": "e1", "at": 999_000}
    fake = FakeConsumer([[FakeMessage(0, json.dumps(event).encode())]], during_fetch=on_fetch)
    report, registry = Report("recorder", "s"), toy_registry()
    for name, result in {
        "AssignedConsumer": assigned_consumer(fake, {(TOPIC, 0): 0}, report, (TOPIC, "labels")),
        "Transactions": transactions,
        "ReplayVerifier": Mock(verify=dict),
        "TopicMetadata": Mock(describe=lambda _: ("id", 1), describe_unchanged=lambda *_: ("id", 1)),
        "epoch_of": 0,
    }.items():
        monkeypatch.setattr(recorder, name, Mock(return_value=result))
    own = recorder.Recorder(fake_settings(), lambda: registry, report, connect_to=connect, monotonic=lambda: now_s)
    with capture_logs() as logs:
        assert own.record_once(threading.Event())
    assert [(call.args[0], len(call.args[1])) for call in client.insert.call_args_list] == [("predictions", 1)] * 2
    assert [end.offset for end in transactions.commit.call_args.args[1]] == [1]
    assert (any(paused), fake.paused) == (True, set()), "it polls while paused, and reads again"
    assert (connect.call_count, client.close.call_count, report.retries) == (3, 1, 2)
    assert [(log["event"], log.get("error")) for log in logs if "warehouse" in log["event"]] == [
        ("warehouse busy: reading is paused", "unreachable"),
        ("warehouse writes again", None),
    ]
