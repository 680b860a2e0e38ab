"""Arrow predictions → raw rows: all column types, and the same rows as from JSON."""

from __future__ import annotations

import json
import math
import zlib
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Field
from barograph.events import encode_arrow

from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.recorder.arrow_rows import ArrowRows
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.registry.registry import build_registry
from tests.support.messages import NOW_MS, batch_of
from tests.support.poison import ARROW_HEADERS, KINDS

batch = partial(batch_of, partition=3, first=100)
CONTRACT = Contract(
    model="toy",
    fields=(
        Field(name="x", type="float", source="features.x"),
        Field(name="colour", type="category", source="features.colour"),
    ),
    ignored={"note": "free text"},
)
REGISTRY = build_registry([(CONTRACT, 1), (Contract(model="other"), 1)], [])


def rows(*tables: pa.Table | bytes, registry: Any = REGISTRY) -> list[dict[str, Any]]:
    values: list[bytes | None] = [each if isinstance(each, bytes) else encode_arrow(each) for each in tables]
    result = ArrowRows(registry).rows(batch(*values))
    return (
        sorted(pa.concat_tables(result).to_pylist(), key=lambda r: (r["offset"], r["message_index"])) if result else []
    )


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
        first, second = rows(table(features__x=column, features__note=pa.nulls(2)))
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
    result = rows(encode_arrow(pa.table(columns)))
    values: list[bytes | None] = [json.dumps(event).encode() for event in events]
    from_json = pa.concat_tables(JsonRows(REGISTRY).rows(batch(*values))).to_pylist()
    expected = sorted(from_json, key=lambda row: row["offset"])
    assert len(result) == len(expected) == 4

    def comparable(row: dict[str, Any], index: int) -> str:
        return repr(
            {k: sorted(v) if isinstance(v, list) else v for k, v in row.items() if k not in ("offset", "message_index")}
            | {"index": index}
        )

    assert [comparable(row, row["message_index"]) for row in result] == [
        comparable(row, row["offset"] - 100) for row in expected
    ]


def test_positions_in_messages_of_several_schemas() -> None:
    bad = table(3, features__x=[0.0, 1.0, 2.0])
    bad = bad.set_column(bad.column_names.index("id"), "id", pa.array(["a", None, "c"]))
    result = rows(table(1, features__x=[9.0]), table(2), b"no Arrow", bad, table(0), table(2, features__x=[3.0, 4.0]))
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


def test_events_that_the_sketcher_rejects_are_not_recorded() -> None:
    for kind in (kind for kind in KINDS if kind.headers == ARROW_HEADERS):
        value = kind.make({"model": "toy", "version": "1", "id": "a", "at": NOW_MS})
        assert value is not None
        counted = ArrowDecoder(REGISTRY).decode(batch(value)).events
        assert len(rows(value)) == sum(map(len, counted)) == kind.good_rows, kind.name


def test_the_share_is_sampled_by_the_hash_of_the_id() -> None:
    ids = [f"é{i}" for i in range(2000)]
    sent = encode_arrow(table(2000).set_column(2, "id", pa.array(ids)))

    def sampled(share: float) -> list[str]:
        shared = build_registry([(Contract(model="toy", raw_share=share), 1)], [])
        assert list(JsonRows(shared).sample([sent])) == [0], "its rows are sampled once it is decoded"
        selected = [row["id"] for row in rows(sent, registry=shared)]
        events = [json.dumps({"model": "toy", "version": "1", "id": each, "at": NOW_MS}).encode() for each in ids]
        from_json = JsonRows(shared).rows(batch(*events))
        assert [each for part in from_json for each in part.column("id").to_pylist()] == selected
        return selected

    assert (sampled(1.0), sampled(0.0)) == (ids, [])
    quarter = sampled(0.25)
    assert quarter == [each for each in ids if zlib.crc32(each.encode()) < 2**30]
    assert set(quarter) < set(sampled(0.5))
