"""The rules of `barograph debt` that need no tables."""

from datetime import UTC, date, datetime

import numpy as np
import pytest
from barograph.contract import Field

from barograph_server.governance.debt.arms import last_used
from barograph_server.governance.debt.constant import FieldDay, one_value_days, values_of_day
from barograph_server.governance.debt.jungles import number_relation, text_relation

X = np.arange(200.0)
TEXTS = np.array(["a", "b", "c", "d"] * 50)


def test_an_arm_is_used_on_days_with_a_tenth_of_its_promise() -> None:
    units = {date(2026, 3, 1): {"a": 95, "b": 5}, date(2026, 3, 2): {"a": 96, "b": 4}, date(2026, 3, 3): {"a": 9}}
    assert last_used(units, {"a": 0.5, "b": 0.5}) == {
        "a": datetime(2026, 3, 4, tzinfo=UTC),
        "b": datetime(2026, 3, 2, tzinfo=UTC),
    }
    assert last_used({date(2026, 3, 1): {"a": 9, "b": 0}}, {"a": 0.5, "b": 0.5}).keys() == {"a"}


def test_the_newest_days_with_one_value_are_a_range() -> None:
    """A star is a day with two values."""
    for values, n in (("112", 1), ("121", 1), ("122", 2), ("222", 3), ("22*", 0), ("*22", 2), ("", 0)):
        days: list[FieldDay] = [
            (datetime(2026, 3, i + 1, tzinfo=UTC), 1, frozenset("12" if value == "*" else value))
            for i, value in enumerate(values)
        ]
        assert list(one_value_days(days)) == days[len(days) - n :], values


@pytest.mark.parametrize(
    ("kind", "counts", "limits", "n"),
    [
        ("float", [4, 0, 0], (2.0, 2.0), 1),
        ("float", [4, 0, 0], (2.0, 3.0), 2),
        ("bool", [0, 4], (float("nan"), float("nan")), 1),
        ("bool", [1, 4], (float("nan"), float("nan")), 2),
        ("category", [0, 4, 0], (float("nan"), float("nan")), 1),
        ("category", [0, 0, 4], (float("nan"), float("nan")), 2),  # unseen categories can be many
    ],
)
def test_a_day_has_one_value_or_several(kind: str, counts: list[int], limits: tuple[float, float], n: int) -> None:
    field = Field(name="f", type=kind, source="features.f")  # type: ignore[arg-type]
    assert len(values_of_day(field, [("b1", counts)], *limits)) == n
    assert values_of_day(Field(name="f", type="int", source="features.f"), [], *[float("nan")] * 2) == {"not tracked"}


def test_equal_and_linear_numbers_are_one_feature() -> None:
    missing = np.where(X % 3 == 0, np.nan, X)
    assert number_relation(X, missing).startswith("equal in 133 ")
    assert number_relation(X, 32.0 - 1.8 * X) == "correlation -1.0000000 in 200 sampled events"
    assert number_relation(X, X + np.sin(X)) == ""
    assert number_relation(X, np.ones(200)) == ""
    assert number_relation(X[:50], X[:50]) == ""


def test_categories_that_map_one_to_one_are_one_feature() -> None:
    assert text_relation(TEXTS, np.char.add("country ", TEXTS)) == "4 values map one to one in 200 sampled events"
    assert text_relation(TEXTS, np.where(TEXTS == "a", "b", TEXTS)) == ""
    assert text_relation(X.astype(str), X.astype(str)) == ""
    assert text_relation(TEXTS, np.full(200, "one")) == ""
