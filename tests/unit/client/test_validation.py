import copy
import enum
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract, ContractViolation, Publisher, TableViolation, Validator, Violation, validate_table
from barograph.contract import Field, Slice
from barograph.publisher.outbox import MAX_VIOLATIONS
from barograph.validation.tables import TableChecker
from hypothesis import given
from hypothesis import strategies as st

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
AT_MS = 1_700_000_000_000
NOW = datetime.fromtimestamp(AT_MS / 1000, UTC)
SOUND: dict[str, Any] = {
    "temp": 71.5,
    "seats": 189,
    "carrier": "B6",
    "weekend": False,
    "booked_at": AT_MS - 1000,
    "email": "a@b.example",
}
VALIDATOR = Validator(CONTRACT)


class Hostile:
    @property
    def dtype(self) -> str:
        raise RuntimeError("71.5")


def kinds(features: dict[str, Any], **more: Any) -> dict[str, str]:
    return {violation.field: violation.kind for violation in VALIDATOR.check(features, at_ms=AT_MS, **more)}


def test_each_value_has_the_expected_kind() -> None:
    assert VALIDATOR.check({**SOUND, "tailnum": object(), "plan": "free"}, at_ms=AT_MS) == []
    codes = enum.Enum("codes", {"RED": "red"})
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
        ("seats", 0, "below"),
        ("seats", None, "null"),
        ("carrier", codes.RED, None),
        ("carrier", 6, "type"),
        ("weekend", 1, None),
        ("weekend", np.bool_(False), None),
        ("weekend", 2, "type"),
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
    kinds_of_fields = kinds({"weekend": True, "extra": 1, 7: 2})  # type: ignore[dict-item]
    missing = dict.fromkeys(("temp", "seats", "carrier", "booked", "email"), "missing")
    assert list(kinds_of_fields.items()) == [*missing.items(), ("extra", "unknown"), ("7", "unknown")]
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
    violations = VALIDATOR.check(wrong, at_ms=AT_MS)
    assert [(each.limit, each.expected_type) for each in violations[:3]] == [(130.0, ""), (1.0, ""), (None, "category")]
    assert len(violations[-1].field) == 200
    assert "987654" not in "".join(map(str, violations))
    assert str(violations[0]) == "temp is above 130"
    assert str(Violation("x", "unknown")) == "x is unknown to the contract"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    publisher = Publisher(CONTRACT, "3", RecordingProducer().outbox(), key=b"k" * 16)
    yield publisher
    publisher.close(0)


def test_flagged_violations_are_returned_and_counted(publisher: Publisher) -> None:
    for _ in range(2):
        violations = publisher.validate({**SOUND, "seats": 0, "more": 1}, at=AT_MS)
        assert [(each.field, each.kind) for each in violations] == [("seats", "below"), ("more", "unknown")]
    assert publisher.validate(SOUND, at=NOW) == []
    assert publisher.validate({**SOUND, "booked_at": 0}, at="soon") == [], "ages need the time of the event"
    assert publisher.stats.violations == {("seats", "below"): 2, ("more", "unknown"): 2}


def test_rejected_violations_are_raised_and_all_violations_are_counted(publisher: Publisher) -> None:
    with pytest.raises(ContractViolation) as caught:
        publisher.validate({**SOUND, "temp": 131.25, "email": ["a@b.example"], "seats": 0}, at=AT_MS)
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


def test_the_count_of_unknown_features_is_bounded(publisher: Publisher) -> None:
    for i in range(MAX_VIOLATIONS + 5):
        publisher.validate({**SOUND, "booked_at": None, f"x{i}": 1})
    counted = publisher.stats.violations
    assert len(counted) == MAX_VIOLATIONS + 1
    assert counted["*", "unknown"] == 5


COLUMNS = tuple(msgspec.structs.replace(field, policy="flag") for field in FIELDS if field.name != "region")
TABLES = Contract(model="m", fields=COLUMNS, slices=(Slice(name="arm", source="arm"),), ignored={"tailnum": "an id"})
SOUND_TABLE: dict[str, Any] = {
    "temp": [71.5, None, 130.0],
    "seats": [189, 1, 5],
    "carrier": ["B6", "", "AA"],
    "weekend": [True, None, False],
    "booked_at": [AT_MS - 1000, None, AT_MS],
    "email": ["a", None, "c"],
    "at": [AT_MS] * 3,
}


def kinds_of(table: pa.Table, **options: Any) -> dict[str, tuple[str, int, tuple[int, ...]]]:
    violations = validate_table(TABLES, table, **options)
    return {violation.field: (violation.kind, violation.n, violation.rows) for violation in violations}


def with_column(name: str, values: Any) -> pa.Table:
    return pa.table({**SOUND_TABLE, name: values})


def test_each_column_has_the_expected_kind() -> None:
    valid = SOUND_TABLE | {"id": ["1", "2", "3"], "label": [1, 0, 1], "arm": ["a", "b", "a"], "tailnum": [1, 2, 3]}
    prefixed = {f"features.{name}" if name in SOUND else name: values for name, values in valid.items()}
    assert validate_table(TABLES, pa.table(valid)) == validate_table(TABLES, pa.table(prefixed)) == []
    columns: list[tuple[str, Any, str | None, tuple[int, ...]]] = [
        ("temp", pa.array([1.5, 131, 140], pa.float32()), "above", (1, 2)),
        ("temp", [1.0, math.nan, math.inf], "not-finite", (1, 2)),
        ("temp", ["1", None, "3"], "type", (0, 2)),
        ("temp", pa.nulls(3), None, ()),
        ("seats", pa.nulls(3), "null", (0, 1, 2)),
        ("seats", [1.0, 2.5, 3.0], "type", (1,)),
        ("seats", [1, 0, -3], "below", (1, 2)),
        ("carrier", pa.array(["B6", "AA", "B6"]).dictionary_encode(), None, ()),
        ("carrier", pa.array(["B6", "AA", "B6"], pa.string_view()), None, ()),
        ("weekend", [0.0, 1.0, 0.5], "type", (2,)),
        ("booked_at", pa.array([datetime.fromtimestamp(AT_MS / 1000, UTC)] * 3), None, ()),
        ("booked_at", pa.array([AT_MS - 1, None, AT_MS - 86_401_000], pa.timestamp("ms")), "above", (2,)),
        ("booked_at", ["2023-11-14T22:13:20Z", None, "soon"], "type", (2,)),
        ("booked_at", pa.array([AT_MS + 1, None, None], pa.float64()), "below", (0,)),
        ("score", [0.5, 1.5, None], "above", (1,)),
    ]
    for name, values, kind, rows in columns:
        field = "booked" if name == "booked_at" else name
        expected = {field: (kind, len(rows), rows)} if kind else {}
        assert kinds_of(with_column(name, values)) == expected, (name, values)
    for at in ("2023-11-14T22:13:20Z", "2023-11-14 22:13:20"):
        table = with_column("booked_at", [0, AT_MS, None]).set_column(6, "at", [[at] * 3])
        assert kinds_of(table) == {"booked": ("above", 1, (0,))}, "times of events may be text"
    assert validate_table(TABLES, pa.table({"more": pa.array([], pa.int64())})) == [], "no rows"


def test_missing_and_unknown_columns_count_for_all_rows() -> None:
    table = pa.table({**SOUND_TABLE, "more": [1, 2, 3]}).drop_columns(["temp"])
    missing, unknown = TableViolation("temp", "missing", 3, 3), TableViolation("more", "unknown", 3, 3)
    assert validate_table(TABLES, table) == [missing, unknown]
    assert validate_table(TABLES, table, exclude=["more"]) == [missing]


def test_a_bare_name_is_the_features_and_never_an_outputs() -> None:
    contract = Contract(model="m", fields=(Field(name="feature_score", type="float", source="features.score", high=1),))
    assert [each.kind for each in validate_table(contract, pa.table({"score": [5.0]}))] == ["missing"]
    assert [each.kind for each in validate_table(contract, pa.table({"features.score": [5.0]}))] == ["above"]
    there = Field(name="there", type="category", source="context.origin", nulls="refuse")
    here = Field(name="here", type="category", source="features.origin", nulls="refuse")
    (violation,) = validate_table(Contract(model="m", fields=(there, here)), pa.table({"origin": ["JFK", None]}))
    assert (violation.field, violation.kind) == ("here", "null")


def test_samples_are_the_first_rows_and_omit_personal_data() -> None:
    table = pa.table({**SOUND_TABLE, "temp": [500.0, 600.0, 700.0], "email": [["a@b.example"]] * 3})
    temp, email = validate_table(TABLES, table, samples=2)
    assert temp == TableViolation("temp", "above", 3, 3, limit=130.0, rows=(0, 1), examples=("500.0", "600.0"))
    assert email == TableViolation("email", "type", 3, 3, expected_type="category", rows=(0, 1))
    assert temp.share == 1.0


def test_ages_are_not_checked_without_times() -> None:
    table, expected = with_column("booked_at", [0, 0, 0]), {"booked": ("above", 3, (0, 1, 2))}
    assert kinds_of(table) == kinds_of(table.rename_columns({"at": "moment"}), at="moment") == expected
    assert validate_table(TABLES, table.drop_columns(["at"])) == []


def test_text_represents_values_if_allowed() -> None:
    table = pa.table(
        {
            "temp": ["71.5", "-4e1", "+.5", "1.", "abc", None, "NaN", " 200 "],
            "seats": ["1", "2", "3", "4", "5", "6", "7.5", "0"],
            "carrier": ["007"] * 8,
            "weekend": ["true", "False", "0", "1", "yes", None, "TRUE", "2"],
            "booked_at": pa.nulls(8),
            "email": pa.nulls(8),
        }
    )
    violations = validate_table(TABLES, table, text_values=True)
    assert [(each.field, each.kind, each.rows) for each in violations] == [
        *(("temp", "type", (4,)), ("temp", "not-finite", (6,)), ("temp", "above", (7,))),
        *(("seats", "type", (6,)), ("seats", "below", (7,)), ("weekend", "type", (4, 7))),
    ]
    booked = pa.array(["2023-11-14 22:13:20", str(AT_MS), "soon"])
    table = with_column("booked_at", booked)
    [naive] = validate_table(TABLES, table)
    assert (naive.kind, naive.n) == ("type", 3), "a request holds RFC 3339"
    [violation] = validate_table(TABLES, table, text_values=True)
    assert (violation.kind, violation.rows, violation.examples) == ("type", (2,), ("soon",))
    early = with_column("booked_at", pa.array(["1970-01-01 00:00:00"] * 3))
    assert [each.kind for each in validate_table(TABLES, early, text_values=True)] == ["above"]


ROWS = st.fixed_dictionaries(
    {
        "temp": st.none() | st.floats(-200, 200) | st.sampled_from([math.nan, math.inf, -math.inf]),
        "seats": st.none() | st.integers(-3, 300),
        "carrier": st.none() | st.text(max_size=3),
        "weekend": st.none() | st.integers(-1, 2),
        "booked_at": st.none() | st.integers(AT_MS - 10**9, AT_MS + 10**6),
        "email": st.none() | st.text(max_size=3),
    }
)


@given(st.lists(ROWS, min_size=1, max_size=20), st.integers(1, 20))
def test_a_table_in_chunks_has_the_same_violations_as_its_rows(rows: list[dict[str, Any]], split_at: int) -> None:
    validator = Validator(TABLES)
    expected: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        for violation in validator.check(row, at_ms=AT_MS):
            expected.setdefault((violation.field, violation.kind), []).append(number)
    types = {"temp": pa.float64(), "seats": pa.int64(), "carrier": pa.string(), "weekend": pa.int64()}
    schema = pa.schema(types | {"booked_at": pa.int64(), "email": pa.string()})
    table = pa.Table.from_pylist(rows, schema).append_column("at", [[AT_MS] * len(rows)])
    whole = validate_table(TABLES, table, samples=100)
    assert {(each.field, each.kind): list(each.rows) for each in whole} == expected
    pieces = TableChecker(TABLES, samples=100)
    for start in range(0, table.num_rows, split_at):
        pieces.add(table.slice(start, split_at))
    assert pieces.violations() == whole
