"""Shadows are decoded as events of their own role, and only their arrival is counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from barograph.contract import Contract, Field
from barograph.events import Reason, encode_arrow

from barograph_server.streams.broker.assigned_consumer import Membership
from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import Decoded, MessageBatch
from barograph_server.streams.events.columns import concat_columns
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.sketcher.end_probe import EndProbe
from barograph_server.streams.sketcher.flush import Flush
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.messages import NOW_MS, batch_of

REGISTRY = build_registry([(Contract(model="m", fields=(Field(name="x", type="float", source="features.x"),)), 1)], [])
ROLES = [None, "primary", "shadow", None, "shadow"]
Encode = Callable[[Sequence[Any]], MessageBatch]


def event(i: int, role: Any) -> dict[str, Any]:
    plain = {"model": "m", "version": "1", "id": f"e{i}", "at": NOW_MS, "producer": "p", "seq": i}
    return plain | {"features.x": float(i), "role": role}


def as_json(roles: Sequence[Any]) -> MessageBatch:
    events = [event(i, role) for i, role in enumerate(roles)]
    for each in events:
        each["features"] = {"x": each.pop("features.x")}
    return batch_of(*[json.dumps({k: v for k, v in each.items() if v is not None}).encode() for each in events])


def as_broken_json(roles: Sequence[Any]) -> MessageBatch:
    """Encode the events together with one that does not fit the format, so that all are decoded one by one."""
    good = as_json(roles)
    return batch_of(*good.values, b'{"model": "m", "version": "1", "id": "e9", "at": "never"}')


def as_arrow(roles: Sequence[Any]) -> MessageBatch:
    return batch_of(encode_arrow(pa.Table.from_pylist([event(i, role) for i, role in enumerate(roles)])))


ENCODINGS = pytest.mark.parametrize("encode", [as_json, as_broken_json, as_arrow])


def decode(encode: Encode, roles: Sequence[Any]) -> Decoded:
    return (ArrowDecoder if encode is as_arrow else JsonDecoder)(REGISTRY).decode(encode(roles))


@ENCODINGS
def test_shadows_are_marked_and_can_be_left_out(encode: Encode) -> None:
    (columns,) = decode(encode, ROLES).events
    assert columns.shadow is not None
    assert columns.shadow.tolist() == [False, False, True, False, True]
    assert columns.without_shadows().numbers["features.x"].tolist() == [0.0, 1.0, 3.0]
    (primaries,) = decode(encode, [None, "primary"]).events
    assert primaries.shadow is None
    assert primaries.without_shadows() is primaries
    joined = concat_columns([primaries, columns]).shadow
    assert joined is not None
    assert joined.tolist() == [False, False, False, False, True, False, True]


@ENCODINGS
@pytest.mark.parametrize("role", ["canary", "", "Shadow", 1])
def test_another_role_is_a_dead_letter_and_its_neighbors_are_events(encode: Encode, role: Any) -> None:
    roles = [role] if encode is as_arrow and role == 1 else ["shadow", role]
    decoded = decode(encode, roles)
    assert [len(columns) for columns in decoded.events] == [1] * (len(roles) - 1)
    assert [each.reason for each in decoded.rejected if each.reason is not Reason.BAD_TIME] == [Reason.WRONG_TYPE]


@ENCODINGS
def test_only_the_arrival_of_a_shadow_is_counted(encode: Encode) -> None:
    flush = Flush(
        Membership(None, 1), {0: 0}, FlushSummaries(REGISTRY), EndProbe(lambda _: None, clock=lambda: NOW_MS / 1000)
    )
    flush.add(decode(encode, ROLES), arrivals_counted=False)
    assert flush.events == flush.summaries.unwatched == 3
    tallies = flush.summaries.tallies.tallies("predictions", "id", [], flush.rejected)
    assert sum(each.n for tally in tallies for each in tally.producers) == len(ROLES)
