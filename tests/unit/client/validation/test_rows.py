"""Checks of one prediction's features: every kind and policy, and no value in a message."""

import copy
import enum
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from barograph import Contract, ContractViolation, Publisher, Validator, Violation
from barograph.contract import Field, Slice
from barograph.publisher.outbox import MAX_VIOLATIONS

from tests.support.scripted_kafka import RecordingProducer

FIELDS = (
    Field(name="temp", type="float", source="features.temp", low=-40, high=130, policy="reject"),
    Field(name="seats", type="int", source="features.seats", low=1, nulls="refuse"),
    Field(name="carrier", type="category", source="features.carrier", nulls="refuse"),
    Field(name="weekend", type="bool", source="features.weekend"),
    Field(name="booked", type="timestamp", source="features.booked_at", low=0, high=86400),
    Field(name="email", type="category", source="features.email", pii="hash", policy="reject"),
    Field(name="region", type="category", source="context.region", nulls="refuse"),
    Field(name="score", type="float", source="score", low=0, high=1),
)
CONTRACT = Contract(
    model="m", fields=FIELDS, slices=(Slice(name="plan", source="features.plan"),), ignored={"tailnum": "an id"}
)
NOW_MS = 1_700_000_000_000.0
NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)
SOUND: dict[str, Any] = {
    "temp": 71.5,
    "seats": 189,
    "carrier": "B6",
    "weekend": False,
    "booked_at": NOW_MS - 1000,
    "email": "a@b.example",
}
VALIDATOR = Validator(CONTRACT)


class CarrierCode(enum.Enum):
    RED = "red"


class Hostile:
    @property
    def dtype(self) -> str:
        raise RuntimeError("71.5")


def kinds(features: dict[str, Any], **more: Any) -> dict[str, str]:
    return {violation.field: violation.kind for violation in VALIDATOR.check(features, at_ms=NOW_MS, **more)}


def test_valid_features_have_no_violations() -> None:
    assert VALIDATOR.check(SOUND, at_ms=NOW_MS) == []
    assert VALIDATOR.check({**SOUND, "tailnum": object(), "plan": "free"}, at_ms=NOW_MS) == []


def test_each_value_has_the_expected_kind() -> None:
    values: list[tuple[str, object, str | None]] = [
        ("temp", 130, None),
        ("temp", Decimal("1.5"), None),
        ("temp", None, None),
        ("temp", 130.0001, "above"),
        ("temp", math.nan, "not-finite"),
        ("temp", -math.inf, "not-finite"),
        ("temp", "71.5", "type"),
        ("temp", True, "type"),
        ("temp", np.array([71.5, 1.0]), "type"),
        ("temp", Hostile(), "type"),
        ("seats", 5.0, None),
        ("seats", 10**400, "not-finite"),
        ("seats", 5.5, "type"),
        ("seats", 0, "below"),
        ("seats", None, "null"),
        ("carrier", CarrierCode.RED, None),
        ("carrier", None, "null"),
        ("carrier", 6, "type"),
        ("weekend", 1, None),
        ("weekend", np.bool_(False), None),
        ("weekend", 2, "type"),
        ("weekend", "true", "type"),
        ("booked_at", NOW, None),
        ("booked_at", np.datetime64(NOW.replace(tzinfo=None)), None),
        ("booked_at", NOW.isoformat(), None),
        ("booked_at", NOW - timedelta(days=1, seconds=1), "above"),
        ("booked_at", NOW + timedelta(seconds=1), "below"),
        ("booked_at", NOW.replace(tzinfo=None), "type"),
        ("booked_at", "yesterday", "type"),
        ("email", ["a@b.example"], "type"),
    ]
    for name, value, kind in values:
        field = "booked" if name == "booked_at" else name
        assert kinds({**SOUND, name: value}) == ({field: kind} if kind else {}), (name, repr(type(value)))
    assert VALIDATOR.check({**SOUND, "booked_at": 0}) == [], "ages need the time of the event"


def test_missing_fields_are_in_the_contracts_order_and_unknown_features_are_last() -> None:
    violations = VALIDATOR.check({"weekend": True, "extra": 1, 7: 2}, at_ms=NOW_MS)  # type: ignore[dict-item]
    missing = ("temp", "seats", "carrier", "booked", "email")
    assert [(each.field, each.kind) for each in violations] == [
        *((field, "missing") for field in missing),
        *(("extra", "unknown"), ("7", "unknown")),
    ]
    for wrong in (None, 7, "text", [1]):
        assert len(VALIDATOR.check(wrong)) == 6, "not a mapping: it has no field"  # type: ignore[arg-type]


def test_context_is_checked_if_it_is_passed() -> None:
    assert kinds(SOUND, context={"region": 7}) == {}
    assert kinds(SOUND, context={}) == {"region": "missing"}
    assert kinds(SOUND, context={"region": None, "more": "x"}) == {"region": "null"}


def test_messages_contain_limits_and_no_values() -> None:
    wrong: dict[str, Any] = {
        "temp": 987654.0,
        "seats": -987654,
        "carrier": 987654,
        "weekend": 987654,
        "booked_at": "987654",
        "email": {"987654": 1},
        "x" * 300: 987654,
    }
    violations = VALIDATOR.check(wrong, at_ms=NOW_MS)
    assert [(each.limit, each.expected_type) for each in violations[:3]] == [(130.0, ""), (1.0, ""), (None, "category")]
    assert len(violations[-1].field) == 200
    assert "987654" not in "".join(map(str, violations))
    assert str(violations[0]) == "temp is above 130"
    assert str(Violation("x", "unknown")) == "x is unknown to the contract"


# --- the publisher ---------------------------------------------------------------------------------------------------


@pytest.fixture
def producer() -> RecordingProducer:
    return RecordingProducer()


@pytest.fixture
def publisher(producer: RecordingProducer) -> Iterator[Publisher]:
    publisher = Publisher(CONTRACT, "3", producer.outbox(), key=b"k" * 16)
    yield publisher
    publisher.close(0)


def test_flagged_violations_are_returned_and_counted(publisher: Publisher) -> None:
    for _ in range(2):
        violations = publisher.validate({**SOUND, "seats": 0, "more": 1}, at=int(NOW_MS))
        assert [(each.field, each.kind) for each in violations] == [("seats", "below"), ("more", "unknown")]
    assert publisher.validate(SOUND, at=NOW) == []
    assert publisher.validate({**SOUND, "booked_at": 0}, at="soon") == [], "ages need the time of the event"
    assert publisher.stats.violations == {("seats", "below"): 2, ("more", "unknown"): 2}


def test_rejected_violations_are_raised_and_all_violations_are_counted(publisher: Publisher) -> None:
    with pytest.raises(ContractViolation) as caught:
        publisher.validate({**SOUND, "temp": 131.25, "email": ["a@b.example"], "seats": 0}, at=int(NOW_MS))
    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.field, error.kind, error.limit) == ("temp", "above", 130.0)
    assert [each.field for each in error.violations] == ["temp", "email"]
    assert str(error) == "temp is above 130; email is not a category"
    # Processes exchange exceptions as pickles; copying takes the same path.
    for twin in (copy.copy(error), copy.deepcopy(error)):
        assert str(twin) == str(error)
        assert twin.violations == error.violations
    assert publisher.stats.violations == {("temp", "above"): 1, ("email", "type"): 1, ("seats", "below"): 1}


def test_a_rejected_prediction_is_published_as_failed(publisher: Publisher, producer: RecordingProducer) -> None:
    with pytest.raises(ContractViolation), publisher.observe(id="a", features={**SOUND, "temp": 131.25}) as p:
        publisher.validate(p.features)
    (event,) = map(json.loads, producer.values)
    assert event["error"] == "ContractViolation"
    assert "score" not in event


def test_the_count_of_unknown_features_is_bounded(publisher: Publisher) -> None:
    for i in range(MAX_VIOLATIONS + 5):
        publisher.validate({**SOUND, "booked_at": None, f"x{i}": 1})
    counted = publisher.stats.violations
    assert len(counted) == MAX_VIOLATIONS + 1
    assert counted["*", "unknown"] == 5
