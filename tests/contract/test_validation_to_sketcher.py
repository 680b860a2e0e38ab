"""The sketcher counts exactly those values as invalid that validation reports as `type` or `not-finite`."""

import itertools
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
from barograph import Contract, Publisher, Validator
from barograph.contract import Field, FieldType

from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.columns import INVALID_TEXT
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.registry.registry import Registry
from tests.support.scripted_kafka import RecordingProducer

TYPES: tuple[FieldType, ...] = ("float", "int", "bool", "category", "timestamp")
CONTRACT = Contract(model="m", fields=tuple(Field(name=t, type=t, source=f"features.{t}") for t in TYPES))
NOW_MS = 1_700_000_000_000
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
    publisher, validator = Publisher(CONTRACT, "3", producer.outbox()), Validator(CONTRACT)
    decoder = JsonDecoder(Registry(contracts={"m": CONTRACT}))
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
