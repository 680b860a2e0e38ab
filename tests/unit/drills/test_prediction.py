"""The predicted time to the page is that of the rules, for faults whose effect is known."""

from __future__ import annotations

import pytest

from alerts.settings import AlertSettings
from drills.faults import FaultPeriod, InjectionRequest, find_fault, plan_injection
from drills.prediction import predict_page_s
from tests.support.drill_events import CONTRACT, baseline, make_events

EVENTS = make_events(20_000, 10)


def predict(name: str, **options: object) -> tuple[float, float] | None:
    request = InjectionRequest(find_fault(name), **options)  # type: ignore[arg-type]
    injection = plan_injection(request, CONTRACT, baseline(), FaultPeriod(0, 1))
    return predict_page_s(injection, CONTRACT, EVENTS, AlertSettings())


@pytest.mark.parametrize("name", ["mean-shift", "scale", "clipped-range", "null-rise", "schema-change", "category-new"])
def test_a_known_effect_is_predicted(name: str) -> None:
    predicted = predict(name)
    assert predicted is not None
    low, high = predicted
    assert 0 < low < high < 3 * 86_400


def test_a_larger_fault_pages_earlier() -> None:
    small, large = predict("mean-shift", magnitude=1.0), predict("mean-shift", magnitude=3.0)
    assert small is not None
    assert large is not None
    assert large[1] < small[1]


@pytest.mark.parametrize(
    ("name", "options"), [("silence", {}), ("mean-shift", {"magnitude": 0.1}), ("swapped-columns", {})]
)
def test_nothing_is_predicted_where_nothing_is_known(name: str, options: dict[str, float]) -> None:
    assert predict(name, **options) is None
