"""Fields with any name, those of a baseline that the contract no longer names, and forms of event times."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, Field

from barograph_server.sketches.baseline.columns import TAIL
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.event_time import parse_time_ms
from barograph_server.streams.events.event_type import is_nameable
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.messages import NOW_MS, batch_of
from tests.support.pipeline import simple_baseline, simple_contract

NAMES = ["plain", 'with "quotes"', "back\\slash", "日本", "a.b", "$x{}", "m0"]
MODELS = ["simple", 'a "quoted" \\ model', "模型"]


def registry(*models: str, fields: list[str]) -> Registry:
    watched = tuple(Field(name=name, type="float", source=f"features.{name}") for name in fields)
    return build_registry([(Contract(model=model, fields=watched), 0) for model in models], [])


def batch(*events: dict[str, object]) -> MessageBatch:
    return batch_of(*[json.dumps(event).encode() for event in events])


def event(model: str, **features: float | str) -> dict[str, object]:
    return {"model": model, "version": "1", "id": "a", "at": NOW_MS, "features": features}


@pytest.mark.parametrize("model", MODELS)
def test_names_of_any_characters_are_decoded(model: str) -> None:
    for name in NAMES:
        known = registry(model, fields=[name, "other"])
        sent = batch(event(model, **{name: 1.5, "other": 2}), event(model, **{name: "x"}))
        decoded = JsonDecoder(known).decode(sent)
        assert decoded.rejected == [], name
        (columns,) = decoded.events
        assert columns.numbers[f"features.{name}"].tolist() == [1.5, np.inf], name
        np.testing.assert_array_equal(columns.numbers["features.other"], [2.0, np.nan], name)
        (rows,) = JsonRows(known).rows(batch(event(model, **{name: 1.5})))
        assert rows.column("numbers").to_pylist() == [[(name, 1.5)]], name
    assert [is_nameable(name) for name in NAMES] == [True, False, False, True, True, True, True]
    assert not is_nameable("a\nb")


def test_fields_of_baselines_are_read_even_if_the_contract_lacks_them() -> None:
    whole, baseline = simple_contract(), simple_baseline()
    fewer = msgspec.structs.replace(whole, fields=whole.fields[:1])
    features = {"x": 0.5, "k": 3, "flag": True, "colour": "green"}
    event = {"model": "toy", "version": "1", "id": "a", "at": NOW_MS, "features": features}
    batch = batch_of(json.dumps(event).encode())
    counts = []
    for contract in (whole, fewer):
        registry = build_registry([(contract, 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])
        summaries = FlushSummaries(registry)
        for events in JsonDecoder(registry).decode(batch).events:
            summaries.add(events)
        (pane,) = summaries.panes.values()
        counts.append(pane.counts)
        layout = pane.layout
    assert (counts[0] == counts[1]).all()
    ends = layout.starts + layout.n_cells
    assert counts[1][0, ends - 1].sum() == 0, "nothing is null"
    assert sum(counts[1][0, end : end + TAIL].sum() for end in ends.tolist()) == 0, "nothing is invalid"


NOON_MS = round(datetime.fromisoformat("2026-03-01T12:00:00+00:00").timestamp() * 1000)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (NOON_MS, NOON_MS),
        (float(NOON_MS), NOON_MS),
        (0, 0),
        (-1, -1),
        ("2026-03-01T12:00:00Z", NOON_MS),
        ("2026-03-01T12:00:00.250Z", NOON_MS + 250),
        ("2026-03-01T14:30:00+02:30", NOON_MS),
        ("2026-03-01T12:00:00.0006+00:00", NOON_MS + 1),
    ],
)
def test_valid_times(value: Any, ms: int) -> None:
    assert parse_time_ms(value) == ms


def test_invalid_times() -> None:
    numbers = (None, True, 1.5, float("nan"), float("inf"), 1e30, 2**63, -(2**63) - 1, [NOON_MS])
    texts = ("", "yesterday", "2026-03-01", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z", str(NOON_MS))
    for value in (*numbers, *texts):
        assert parse_time_ms(value) is None, value
