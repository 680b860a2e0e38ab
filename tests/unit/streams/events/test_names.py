"""Models and fields with any name are decoded, including quotes, backslashes and control characters."""

from __future__ import annotations

import json

import numpy as np
import pytest
from barograph.contract import Contract, Field

from streams.events.batch import MessageBatch
from streams.events.event_type import is_nameable
from streams.events.json_decoder import JsonDecoder
from streams.recorder.json_rows import JsonRows
from streams.registry.registry import Registry, build_registry

NAMES = ["plain", 'with "quotes"', "back\\slash", "日本", "a.b", "$x{}", "m0"]
MODELS = ["simple", 'a "quoted" \\ model', "模型"]


def registry(*models: str, fields: list[str]) -> Registry:
    watched = tuple(Field(name=name, type="float", source=f"features.{name}") for name in fields)
    return build_registry([(Contract(model=model, fields=watched), 0) for model in models], [])


def batch(*events: dict[str, object]) -> MessageBatch:
    n = len(events)
    values: list[bytes | None] = [json.dumps(event).encode() for event in events]
    at = np.full(n, 1_790_000_000_000)
    return MessageBatch(values, np.zeros(n, np.int32), np.arange(n), at)


def event(model: str, **features: float | str) -> dict[str, object]:
    return {"model": model, "version": "1", "id": "a", "at": 1_790_000_000_000, "features": features}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_characters_are_decoded(model: str, name: str) -> None:
    known = registry(model, fields=[name, "other"])
    decoded = JsonDecoder(known).decode(batch(event(model, **{name: 1.5, "other": 2}), event(model, **{name: "x"})))
    assert decoded.rejected == []
    (columns,) = decoded.events
    assert columns.numbers[f"features.{name}"].tolist() == [1.5, np.inf]
    assert columns.numbers["features.other"][0] == 2
    assert np.isnan(columns.numbers["features.other"][1])
    (rows,) = JsonRows(known).rows(batch(event(model, **{name: 1.5})))
    assert rows.column("numbers").to_pylist() == [[(name, 1.5)]]


def test_a_model_with_such_a_field_does_not_affect_others() -> None:
    watched = [Field(name=name, type="float", source=f"features.{name}") for name in ("x", 'y"')]
    contracts = [(Contract(model="plain", fields=(watched[0],)), 0), (Contract(model="odd", fields=(watched[1],)), 0)]
    decoded = JsonDecoder(build_registry(contracts, [])).decode(
        batch(event("plain", x=1.0), event("odd", **{'y"': 2.0}), event("nobody", x=1.0))
    )
    result = {columns.model: columns.numbers for columns in decoded.events}
    assert result["plain"]["features.x"].tolist() == [1.0]
    assert result["odd"]['features.y"'].tolist() == [2.0]
    assert [dead.reason for dead in decoded.rejected] == ["unknown-model"]


def test_names_that_a_struct_can_have() -> None:
    assert [is_nameable(name) for name in NAMES] == [True, False, False, True, True, True, True]
    assert not is_nameable("a\nb")
