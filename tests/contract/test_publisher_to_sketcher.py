"""What the publisher sends, and what validators accept, is what the sketcher counts."""

import itertools
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract, Publisher, Validator
from barograph.contract import Field, FieldType, Slice

from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.arrow_message import open_message
from barograph_server.streams.events.batch import Decoded, MessageBatch
from barograph_server.streams.events.columns import INVALID_TEXT
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.registry.registry import Registry
from tests.support.scripted_kafka import RecordingProducer

CONTRACT = Contract(
    model="m",
    fields=(
        Field(name="temp", type="float", source="features.temp"),
        Field(name="seats", type="int", source="features.seats"),
        Field(name="weekend", type="bool", source="features.weekend"),
        Field(name="carrier", type="category", source="features.carrier"),
        Field(name="booked_at", type="timestamp", source="features.booked_at"),
        Field(name="tokens", type="int", source="metrics.tokens"),
        Field(name="score", type="float", source="score"),
        Field(name="class", type="category", source="class"),
    ),
    slices=(Slice(name="origin", source="context.origin"), Slice(name="arm", source="arm")),
)
REGISTRY = Registry(contracts={"m": CONTRACT})
NOW_MS = 1_700_000_000_000
BOOKED = datetime(2023, 11, 1, tzinfo=UTC)
COLUMNS: dict[str, list[Any]] = {
    "id": ["a", "b", "c", "d"],
    "at": [NOW_MS, NOW_MS - 1, NOW_MS - 2, NOW_MS - 3],
    "features.temp": [71.5, None, math.nan, -math.inf],
    "features.seats": [189, None, 0, -1],
    "features.weekend": [True, None, False, False],
    "features.carrier": ["B6", None, "größe", ""],
    "features.booked_at": [BOOKED, None, BOOKED, BOOKED],
    "metrics.tokens": [3, None, 4, 5],
    "score": [0.25, None, math.inf, 1.0],
    "class": ["late", None, "on time", "late"],
    "context.origin": ["JFK", None, "LGA", "EWR"],
    "arm": ["a", None, "b", "a"],
    "error": [None, "TimeoutError", None, None],
}


class PublishedEvents(RecordingProducer):
    def __init__(self) -> None:
        super().__init__()
        self.publisher = Publisher(CONTRACT, "3", self.outbox())

    def batch(self) -> MessageBatch:
        n = len(self.values)
        return MessageBatch([*self.values], np.zeros(n, np.int32), np.arange(n), np.full(n, NOW_MS))


@pytest.fixture
def published() -> Iterator[PublishedEvents]:
    events = PublishedEvents()
    yield events
    events.publisher.close(0)


def one_by_one(published: PublishedEvents) -> Decoded:
    for i in range(len(COLUMNS["id"])):
        row = {name: values[i] for name, values in COLUMNS.items()}
        members: dict[str, Any] = {"features": {}, "context": {}, "metrics": {}}
        for name, value in row.items():
            map_name, dot, member = name.partition(".")
            if dot:
                members[map_name][member] = value
            else:
                members["class_" if name == "class" else name] = value
        published.publisher.prediction(**members)
    return JsonDecoder(REGISTRY).decode(published.batch())


def as_table(published: PublishedEvents) -> Decoded:
    assert published.publisher.predictions(pa.table(COLUMNS)) == 4
    return ArrowDecoder(REGISTRY).decode(published.batch())


@pytest.mark.parametrize("publish", [one_by_one, as_table])
def test_every_value_arrives(publish: Any, published: PublishedEvents) -> None:
    decoded = publish(published)
    assert decoded.rejected == []
    (events,) = decoded.events
    nan, invalid = math.nan, math.inf
    booked_ms = BOOKED.timestamp() * 1000
    expected = {
        "features.temp": [71.5, nan, invalid, invalid],
        "features.seats": [189, nan, 0, -1],
        "features.weekend": [1, nan, 0, 0],
        "features.booked_at": [booked_ms, nan, booked_ms, booked_ms],
        "metrics.tokens": [3, nan, 4, 5],
        "score": [0.25, nan, invalid, 1.0],
    }
    assert set(events.numbers) == set(expected)
    for source, values in expected.items():
        np.testing.assert_array_equal(np.abs(events.numbers[source]), np.abs(values), err_msg=source)
    assert {source: column.to_pylist() for source, column in events.texts.items()} == {
        source: COLUMNS[source] for source in ("features.carrier", "class", "context.origin", "arm")
    }
    assert events.at_ms.tolist() == COLUMNS["at"]
    assert events.errors.tolist() == [False, True, False, False]
    assert (events.versions, events.version_code.tolist()) == (("3",), [0, 0, 0, 0])


def test_messages_of_wide_tables_are_within_the_limits_of_the_reader(published: PublishedEvents) -> None:
    """2,000 flags in 1,000 rows take 250 kB in a message, and 16 MB with eight bytes per value."""
    flags = pa.array([True, False] * 500)
    table = pa.table({"id": [str(i) for i in range(1_000)], **{f"features.f{i}": flags for i in range(2_000)}})
    assert published.publisher.predictions(table) == 1_000
    assert sum(batch.num_rows for value in published.values for batch in open_message(value).batches) == 1_000


TYPES: tuple[FieldType, ...] = ("float", "int", "bool", "category", "timestamp")
VALIDATED = Contract(model="m", fields=tuple(Field(name=t, type=t, source=f"features.{t}") for t in TYPES))
VALUES: list[Any] = [
    *(None, 0, 1, 2.0, 71.5, np.float64(3), np.int32(4), np.bool_(True), Decimal("1.5"), True),
    *("", "71.5", "2013-08-22T12:00:00Z", "2013-08-22T12:00:00", datetime(2013, 8, 22, tzinfo=UTC)),
    *(math.nan, math.inf, np.float32("-inf"), 10**400, [1], {"a": 1}, object()),
]
STRICTER: dict[tuple[str, str | None], set[tuple[str, str]]] = {
    # `int` requires whole numbers.
    ("int", "type"): {("int", "71.5"), ("int", "Decimal('1.5')")},
    # These are sent as text and counted as unseen categories.
    ("category", "not-finite"): {("category", repr(value)) for value in (math.nan, math.inf, np.float32("-inf"))},
    ("category", "type"): {("category", repr(datetime(2013, 8, 22, tzinfo=UTC)))},
}
"""Values that validation rejects and the sketcher accepts, by type and kind."""


def test_validation_and_the_sketcher_agree() -> None:
    producer = RecordingProducer()
    publisher, validator = Publisher(VALIDATED, "3", producer.outbox()), Validator(VALIDATED)
    decoder = JsonDecoder(Registry(contracts={"m": VALIDATED}))
    for kind, value in itertools.product(TYPES, VALUES):
        producer.messages.clear()
        publisher.prediction(id="a", at=NOW_MS, features={kind: value})
        batch = MessageBatch([*producer.values], np.zeros(1, np.int32), np.arange(1), np.full(1, NOW_MS))
        decoded = decoder.decode(batch)
        assert not decoded.rejected
        (events,) = decoded.events
        source = f"features.{kind}"
        if kind == "category":
            is_invalid = events.texts[source].to_pylist() == [INVALID_TEXT]
        else:
            is_invalid = bool(np.isinf(events.numbers[source][0]))
        field = next((each.kind for each in validator.check({kind: value}) if each.field == kind), None)
        is_stricter = (kind, repr(value)) in STRICTER.get((kind, field), ())
        assert is_invalid == (field in ("type", "not-finite") and not is_stricter), (kind, value)
    publisher.close(0)
