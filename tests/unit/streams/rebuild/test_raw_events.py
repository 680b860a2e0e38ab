"""Raw rows as a source of events: which values survive recording and which do not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Field, Slice

from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.rebuild.raw_events import to_message
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.registry.registry import build_registry
from barograph_server.warehouse.history.raw_rows import RawPrediction
from tests.support.messages import NOW_MS, batch_of

CONTRACT = Contract(
    model="toy",
    fields=(
        Field(name="x", type="float", source="features.x"),
        Field(name="k", type="int", source="features.k"),
        Field(name="flag", type="bool", source="features.flag"),
        Field(name="colour", type="category", source="features.colour"),
        Field(name="score", type="float", source="score"),
        Field(name="class", type="category", source="class"),
        Field(name="cost", type="float", source="metrics.cost"),
        Field(name="latency", type="float", source="latency_ms"),
    ),
    slices=(Slice(name="region", source="context.region"), Slice(name="arm", source="arm")),
)
REGISTRY = build_registry([(CONTRACT, 1)], [])


def event(i: int, **changes: Any) -> bytes:
    features = {"x": i / 7, "k": i % 5, "flag": i % 2 == 0, "colour": "rot \u2713"}
    plain = {"model": "toy", "version": "1", "id": f"e{i}", "at": NOW_MS - i, "features": features}
    more = {"score": 0.25, "class": "yes", "metrics": {"cost": 3}, "latency_ms": 12.5, "arm": "b"}
    return json.dumps(plain | more | {"context": {"region": "north"}} | changes).encode()


EVENTS = [
    event(0),
    event(1, features={"x": None, "k": 2**40, "flag": False}),
    event(2, features={"x": 1e300, "colour": None}, score=None, metrics=None),
    event(3, features={"x": "a text", "k": 0.5, "flag": 3, "colour": ""}),
    event(4, features={}, context=None, arm=None, latency_ms=None),
    event(5, error="timeout", status="504", **{"class": None}),
    event(6, features={"x": "NaN", "k": "-Infinity"}),
]


def recorded(values: list[bytes]) -> list[bytes]:
    result = sorted(
        pa.concat_tables(JsonRows(REGISTRY).rows(batch_of(*values))).to_pylist(), key=lambda row: row["offset"]
    )
    messages = []
    for row in result:
        maps = [dict(row[name]) for name in ("context", "numbers", "strings")]
        plain = [row[name] for name in ("partition", "offset", "version", "id")]
        times = [round(row[name].timestamp() * 1000) for name in ("at", "received_at")]
        rest = [row["nulls"], row["score"], row["class"], dict(row["scores"]), dict(row["metrics"])]
        rest += [row["latency_ms"], row["status"], row["error"]]
        messages.append(to_message("toy", RawPrediction._make([*plain, *times, row["arm"], *maps, *rest])))
    return messages


def columns(values: list[bytes]) -> EventColumns:
    decoded = JsonDecoder(REGISTRY).decode(batch_of(*values))
    assert not decoded.rejected
    (events,) = decoded.events
    return events


def test_an_event_survives_recording() -> None:
    before, after = columns(EVENTS), columns(recorded(EVENTS))
    assert before.at_ms.tolist() == after.at_ms.tolist()
    assert before.errors.tolist() == after.errors.tolist()
    assert set(before.numbers) == set(after.numbers)
    for source, values in before.numbers.items():
        np.testing.assert_array_equal(after.numbers[source], values, err_msg=source)
    for source, texts in before.texts.items():
        assert after.texts[source].to_pylist() == texts.to_pylist(), source


def test_values_that_raw_rows_lack_give_fewer_invalid_values() -> None:
    odd = [event(0, features={"x": True}, score=[1], latency_ms="slow")]
    before, after = columns(odd), columns(recorded(odd))
    for source in ("features.x", "score", "latency_ms"):
        assert np.isinf(before.numbers[source][0]), source
        assert not np.isinf(after.numbers[source][0]), source
