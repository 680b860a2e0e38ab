"""The forms of labels: one mapping for single labels, columns and SQL."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from barograph.contract import Contract, LabelSpec
from barograph.contract.check import check_failures
from barograph.contract.label_values import LabelReader
from barograph.publisher.label_columns import read_labels
from hypothesis import example, given
from hypothesis import strategies as st

FLAG = LabelSpec(type="bool", positive=True)
NAMED = LabelSpec(type="bool", positive="bad", negative="good")
OPEN = LabelSpec(type="category", positive="1")
DIGITS = LabelSpec(type="category", classes=("1", "2", "3"))
PAIR = LabelSpec(type="category", classes=("0", "1"))
NUMBER = LabelSpec(type="float")
ALL = (FLAG, NAMED, OPEN, DIGITS, PAIR, NUMBER, LabelSpec(type="bool", positive="0", negative="1"))


def read_column(label: LabelSpec, value: Any) -> Any:
    (result,) = read_labels(label, pa.array([value])).to_pylist()
    return result


TRUTHS = (True, 1, 1.0, "1", "1.0", "true", "True", "TRUE", "yes", "Yes", " y ", "t")
FALSITIES = (False, 0, 0.0, "0", "0.0", "false", "False", "no", "NO", "n", "f")
CASES: list[tuple[LabelSpec, Any, Any]] = [
    *((FLAG, value, True) for value in TRUTHS),
    *((FLAG, value, False) for value in FALSITIES),
    *((FLAG, value, None) for value in (2, 0.5, "maybe", "", "good", -1)),
    *((NAMED, value, True) for value in ("bad", "Bad", *TRUTHS)),
    *((NAMED, value, False) for value in ("good", *FALSITIES)),
    (NAMED, "ugly", None),
    *((PAIR, value, "1") for value in TRUTHS),
    *((PAIR, value, "0") for value in FALSITIES),
    *((OPEN, value, "1") for value in TRUTHS),
    (OPEN, "fraud", "fraud"),
    (OPEN, 2.0, "2"),
    (OPEN, " ", None),
    *((DIGITS, value, "2") for value in (2, 2.0, "2", "2.0")),
    (DIGITS, True, None),
    (DIGITS, 4, None),
    *((NUMBER, value, 3.5) for value in (3.5, "3.5", " +3.5", "35e-1")),
    *((NUMBER, value, None) for value in (True, "nan", "inf", "", "three", "1_0")),
]


def test_every_form_of_a_value_is_one_label() -> None:
    for label, value, expected in CASES:
        for result in (LabelReader(label).read(value), read_column(label, value)):
            assert (result, type(result)) == (expected, type(expected)), (label, value)
    assert [LabelReader(None).read(value) for value in (True, 1, "x")] == [True, 1, "x"], "no contract"


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([*TRUTHS, *FALSITIES, "bad", "good", "2"]),
    st.text(st.characters(codec="utf-8"), max_size=4),
)


@given(st.sampled_from(ALL), VALUES)
@example(NUMBER, "१")
@example(FLAG, "１")
def test_a_column_is_read_as_its_single_labels(label: LabelSpec, value: Any) -> None:
    single, column = LabelReader(label).read(value), read_column(label, value)
    assert single == column or (label.type == "category" and isinstance(value, float) and float(single or 0) == value)
    if single is not None:
        assert LabelReader(label).read(single) == single, "reading is idempotent"


def test_two_values_are_not_one() -> None:
    same = "is the value of positive too"
    for label, message in (
        (LabelSpec(type="category", positive="a", negative="b"), "only a bool has two values"),
        (LabelSpec(type="bool", positive="late", negative="late"), same),
        (LabelSpec(type="bool", positive="late", negative="yes"), same),
        (LabelSpec(type="bool", positive="0", negative="no"), same),
        (LabelSpec(type="bool", negative="1"), same),
    ):
        (failure,) = check_failures(Contract(model="m", label=label))
        assert (failure.path, message in failure.message) == (("label", "negative"), True), failure
