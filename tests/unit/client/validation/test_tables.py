"""Checks of tables: the same violations as row by row, for all column types, in chunks and as a whole."""

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from barograph import Contract, TableViolation, Validator, validate_table
from barograph.contract import Field, Slice
from barograph.validation.tables import TableChecker
from hypothesis import given
from hypothesis import strategies as st

FIELDS = (
    Field(name="temp", type="float", source="features.temp", low=-40, high=130),
    Field(name="seats", type="int", source="features.seats", low=1, nulls="refuse"),
    Field(name="carrier", type="category", source="features.carrier", nulls="refuse"),
    Field(name="weekend", type="bool", source="features.weekend"),
    Field(name="booked", type="timestamp", source="features.booked_at", low=0, high=86400),
    Field(name="email", type="category", source="features.email", pii="hash"),
    Field(name="score", type="float", source="score", low=0, high=1),
)
CONTRACT = Contract(model="m", fields=FIELDS, slices=(Slice(name="arm", source="arm"),), ignored={"tailnum": "an id"})
NOW_MS = 1_700_000_000_000
SOUND: dict[str, Any] = {
    "temp": [71.5, None, 130.0],
    "seats": [189, 1, 5],
    "carrier": ["B6", "", "AA"],
    "weekend": [True, None, False],
    "booked_at": [NOW_MS - 1000, None, NOW_MS],
    "email": ["a", None, "c"],
    "at": [NOW_MS] * 3,
}


def kinds(table: pa.Table, **options: Any) -> dict[str, tuple[str, int, tuple[int, ...]]]:
    return {
        violation.field: (violation.kind, violation.n, violation.rows)
        for violation in validate_table(CONTRACT, table, **options)
    }


def with_column(name: str, values: Any) -> pa.Table:
    return pa.table({**SOUND, name: values})


def test_a_valid_table_has_no_violations() -> None:
    table = pa.table({**SOUND, "id": ["1", "2", "3"], "label": [1, 0, 1], "arm": ["a", "b", "a"], "tailnum": [1, 2, 3]})
    assert validate_table(CONTRACT, table) == []
    prefixed = table.rename_columns(
        [f"features.{name}" if name in SOUND and name != "at" else name for name in table.column_names]
    )
    assert validate_table(CONTRACT, prefixed) == []


def test_each_column_has_the_expected_kind() -> None:
    columns: list[tuple[str, Any, str | None, tuple[int, ...]]] = [
        ("temp", pa.array([1.5, 131, 140], pa.float32()), "above", (1, 2)),
        ("temp", [1.0, math.nan, math.inf], "not-finite", (1, 2)),
        ("temp", ["1", None, "3"], "type", (0, 2)),
        ("temp", pa.nulls(3), None, ()),
        ("seats", pa.nulls(3), "null", (0, 1, 2)),
        ("seats", [1.0, 2.5, 3.0], "type", (1,)),
        ("seats", [1, None, 3], "null", (1,)),
        ("seats", [1, 0, -3], "below", (1, 2)),
        ("carrier", pa.array(["B6", "AA", "B6"]).dictionary_encode(), None, ()),
        ("carrier", pa.array(["B6", "AA", "B6"], pa.string_view()), None, ()),
        ("carrier", pa.array([None, None, None]), "null", (0, 1, 2)),
        ("weekend", [0.0, 1.0, 0.5], "type", (2,)),
        ("booked_at", pa.array([datetime.fromtimestamp(NOW_MS / 1000, UTC)] * 3), None, ()),
        ("booked_at", pa.array([NOW_MS - 1, None, NOW_MS - 86_401_000], pa.timestamp("ms")), "above", (2,)),
        ("booked_at", ["2023-11-14T22:13:20Z", None, "soon"], "type", (2,)),
        ("booked_at", pa.array([NOW_MS + 1, None, None], pa.float64()), "below", (0,)),
        ("score", [0.5, 1.5, None], "above", (1,)),
    ]
    for name, values, kind, rows in columns:
        field = "booked" if name == "booked_at" else name
        expected = {field: (kind, len(rows), rows)} if kind else {}
        assert kinds(with_column(name, values)) == expected, (name, values)
    for at in ("2023-11-14T22:13:20Z", "2023-11-14 22:13:20"):
        table = with_column("booked_at", [0, NOW_MS, None]).set_column(6, "at", [[at] * 3])
        assert kinds(table) == {"booked": ("above", 1, (0,))}, "times of events may be text"
    assert validate_table(CONTRACT, pa.table({"more": pa.array([], pa.int64())})) == [], "no rows"


def test_missing_and_unknown_columns_count_for_all_rows() -> None:
    table = pa.table({**SOUND, "more": [1, 2, 3]}).drop_columns(["temp"])
    assert [(each.field, each.kind, each.n, each.n_checked, each.rows) for each in validate_table(CONTRACT, table)] == [
        ("temp", "missing", 3, 3, ()),
        ("more", "unknown", 3, 3, ()),
    ]
    assert kinds(table, exclude=["more"]) == {"temp": ("missing", 3, ())}


def test_a_bare_name_is_the_features_and_never_an_outputs() -> None:
    contract = Contract(model="m", fields=(Field(name="feature_score", type="float", source="features.score", high=1),))
    assert [each.kind for each in validate_table(contract, pa.table({"score": [5.0]}))] == ["missing"]
    assert [each.kind for each in validate_table(contract, pa.table({"features.score": [5.0]}))] == ["above"]
    there = Field(name="there", type="category", source="context.origin", nulls="refuse")
    here = Field(name="here", type="category", source="features.origin", nulls="refuse")
    (violation,) = validate_table(Contract(model="m", fields=(there, here)), pa.table({"origin": ["JFK", None]}))
    assert (violation.field, violation.kind) == ("here", "null")


def test_samples_are_the_first_rows_and_omit_personal_data() -> None:
    table = pa.table({**SOUND, "temp": [500.0, 600.0, 700.0], "email": [["a@b.example"]] * 3})
    temp, email = validate_table(CONTRACT, table, samples=2)
    assert temp == TableViolation("temp", "above", 3, 3, limit=130.0, rows=(0, 1), examples=("500.0", "600.0"))
    assert email == TableViolation("email", "type", 3, 3, expected_type="category", rows=(0, 1))
    assert temp.share == 1.0


def test_ages_are_not_checked_without_times() -> None:
    table = with_column("booked_at", [0, 0, 0])
    assert kinds(table) == {"booked": ("above", 3, (0, 1, 2))}
    assert validate_table(CONTRACT, table.drop_columns(["at"])) == []
    assert kinds(table.rename_columns([{"at": "moment"}.get(n, n) for n in table.column_names]), at="moment") == {
        "booked": ("above", 3, (0, 1, 2))
    }


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
    violations = validate_table(CONTRACT, table, text_values=True)
    assert [(each.field, each.kind, each.rows) for each in violations] == [
        ("temp", "type", (4,)),
        ("temp", "not-finite", (6,)),
        ("temp", "above", (7,)),
        ("seats", "type", (6,)),
        ("seats", "below", (7,)),
        ("weekend", "type", (4, 7)),
    ]


def test_times_without_a_zone_are_utc_in_text_tables() -> None:
    booked = pa.array(["2023-11-14 22:13:20", str(NOW_MS), "soon"])
    table = with_column("booked_at", booked)
    [naive] = validate_table(CONTRACT, table)
    assert (naive.kind, naive.n) == ("type", 3), "a request holds RFC 3339"
    [violation] = validate_table(CONTRACT, table, text_values=True)
    assert (violation.kind, violation.rows, violation.examples) == ("type", (2,), ("soon",))
    early = with_column("booked_at", pa.array(["1970-01-01 00:00:00"] * 3))
    assert [each.kind for each in validate_table(CONTRACT, early, text_values=True)] == ["above"]


PLAIN = st.one_of(st.none(), st.floats(-200, 200), st.sampled_from([math.nan, math.inf, -math.inf]))
WHOLE = st.one_of(st.none(), st.integers(-3, 300))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "temp": PLAIN,
                "seats": WHOLE,
                "carrier": st.one_of(st.none(), st.text(max_size=3)),
                "weekend": st.one_of(st.none(), st.integers(-1, 2)),
                "booked_at": st.one_of(st.none(), st.integers(NOW_MS - 10**9, NOW_MS + 10**6)),
                "email": st.one_of(st.none(), st.text(max_size=3)),
            }
        ),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 20),
)
def test_a_table_in_chunks_has_the_same_violations_as_its_rows(rows: list[dict[str, Any]], split_at: int) -> None:
    validator = Validator(CONTRACT)
    expected: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        for violation in validator.check(row, at_ms=NOW_MS):
            expected.setdefault((violation.field, violation.kind), []).append(number)
    types = {"temp": pa.float64(), "seats": pa.int64(), "carrier": pa.string(), "weekend": pa.int64()}
    schema = pa.schema(types | {"booked_at": pa.int64(), "email": pa.string()})
    table = pa.Table.from_pylist(rows, schema).append_column("at", [[NOW_MS] * len(rows)])
    whole = validate_table(CONTRACT, table, samples=100)
    assert {(each.field, each.kind): list(each.rows) for each in whole} == expected
    pieces = TableChecker(CONTRACT, samples=100)
    for start in range(0, table.num_rows, split_at):
        pieces.add(table.slice(start, split_at))
    assert pieces.violations() == whole
