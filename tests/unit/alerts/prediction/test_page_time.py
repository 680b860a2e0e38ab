import math

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, Field, Window
from barograph.contract.alerts import AlertRule, Alerts

from barograph_server.alerts.prediction import smallest_change
from barograph_server.alerts.prediction.page_time import PageTime, detect, predict_pages, rules_reading
from barograph_server.alerts.prediction.window_power import Traffic, WindowTraffic
from barograph_server.alerts.settings import AlertSettings
from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline, Phi, SliceCounts, TrainingRate
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.detection.effects import shifted, with_rate
from barograph_server.sketches.drift.few_windows import phi_of_verdicts
from tests.support.baselines import baseline, category
from tests.unit.sketches.test_detection import category_field, normal_field

HOUR_S, DAY_S = 3_600, 86_400
FIELD = normal_field()
QUICK = Traffic(10_000 / DAY_S)


FIELDS = (
    Field(name="x", type="float", source="features.x", critical=True),
    Field(name="c", type="category", source="features.c"),
)
ONE_DAY = Contract(model="m", fields=FIELDS, windows=(Window(DAY_S, HOUR_S),))
TWO_WINDOWS = msgspec.structs.replace(ONE_DAY, windows=(Window(HOUR_S, 300), Window(DAY_S, HOUR_S)))


def of_rule(pages: list[PageTime], name: str) -> PageTime:
    [page] = [page for page in pages if page.rule == name]
    return page


def test_the_time_is_that_of_the_window_and_the_delays_of_the_rule() -> None:
    after = shifted(FIELD, 1.5)
    [rule] = [rule for rule in rules_reading(ONE_DAY, "x", AlertSettings()) if rule.name == "psi-major"]
    detection = detect(rule, ONE_DAY, FIELD, after, QUICK.windows(ONE_DAY, FIELD), AlertSettings())
    [(curve,)] = detection.alternatives
    page = of_rule(predict_pages(ONE_DAY, FIELD, after, QUICK), "psi-major")
    delays = ONE_DAY.lateness_s + ONE_DAY.out_of_order_s + 0.5 * rule.every_s
    pending = math.ceil(rule.for_s / rule.every_s) * rule.every_s
    assert page.median_s == pytest.approx(curve.reached_s(0.5) + delays + pending)
    assert page.low_s < page.median_s < page.high_s < math.inf
    assert page.severity == "page"
    assert detection.is_paged(0.5, page.median_s + 1)
    assert not detection.is_paged(0.5, page.median_s - 1)


def test_a_large_shift_pages_on_the_short_window_alone() -> None:
    slow = msgspec.structs.replace(TWO_WINDOWS, alerts=Alerts(rules={"psi-major": AlertRule(fast_threshold=20.0)}))
    after = shifted(FIELD, 2.0)
    quick = of_rule(predict_pages(TWO_WINDOWS, FIELD, after, Traffic(0.5)), "psi-major")
    late = of_rule(predict_pages(slow, FIELD, after, Traffic(0.5)), "psi-major")
    assert quick.high_s < 2 * HOUR_S < 5 * HOUR_S < late.low_s


def test_overdispersion_delays_and_hides() -> None:
    after = shifted(FIELD, 0.55)
    plain = of_rule(predict_pages(ONE_DAY, FIELD, after, QUICK), "psi-major")
    assert plain.high_s < math.inf
    correlated = trained(Phi(200.0, 30, "ok"), {})
    hidden = of_rule(predict_pages(ONE_DAY, correlated, after, QUICK), "psi-major")
    assert hidden.high_s == math.inf
    assert hidden.is_predictable
    upper = msgspec.structs.replace(ONE_DAY, phi="upper")
    later = of_rule(predict_pages(upper, correlated, shifted(FIELD, 1.0), QUICK), "psi-major")
    sooner = of_rule(predict_pages(ONE_DAY, correlated, shifted(FIELD, 1.0), QUICK), "psi-major")
    assert sooner.median_s < later.median_s < math.inf


def test_the_upper_limit_of_phi_is_that_of_the_monitors_bins() -> None:
    """Rare categories share a bin."""
    names = tuple(f"{i:03}" for i in range(200))
    counts = SliceCounts(cells=(50_000, *[100] * 199, 0, 0), phi={"1d": Phi(value=3.0, windows=30, flag="ok")})
    field = category("c", *names, counts=counts)
    bins = PsiBins(Layout(baseline(field)))
    upper = msgspec.structs.replace(ONE_DAY, phi="upper")
    assert QUICK.windows(upper, field)["1d"].phi == phi_of_verdicts(bins, "1d", "upper").item()


def test_too_few_independent_events_predict_nothing() -> None:
    page = of_rule(predict_pages(ONE_DAY, FIELD, shifted(FIELD, 3.0), Traffic(9 / DAY_S)), "psi-major")
    assert not page.is_predictable
    assert page.median_s == math.inf


@pytest.mark.parametrize(("kind", "rule"), [("null", "null-rate"), ("invalid", "invalid-rate")])
def test_a_rate_pages_by_its_rule(kind: str, rule: str) -> None:
    pages = predict_pages(TWO_WINDOWS, FIELD, with_rate(FIELD, kind, 0.5), QUICK)
    assert of_rule(pages, rule).high_s < 3 * HOUR_S


def test_a_rate_is_judged_by_its_own_variation_in_training() -> None:
    def median_s(rates: dict[str, TrainingRate], phi: Phi) -> float:
        after = with_rate(FIELD, "null", 0.3)
        return of_rule(predict_pages(ONE_DAY, trained(phi, rates), after, QUICK), "null-rate").median_s

    independent, correlated = Phi(), Phi(300.0, 60, "ok")
    plain = median_s({}, independent)
    assert median_s({}, correlated) == plain
    assert plain < median_s({"null": TrainingRate(100.0)}, independent) < math.inf
    assert plain < median_s({"null": TrainingRate(1.0, 0.1)}, independent) < math.inf
    assert median_s({"null": TrainingRate(1.0, 0.2)}, independent) == math.inf


def test_windows_that_vary_in_one_direction_need_less_psi() -> None:
    after = shifted(FIELD, 0.8)
    pages = (predict_pages(ONE_DAY, trained(Phi(60.0, 60, "ok", nu), {}), after, QUICK) for nu in (0.0, 1.0))
    whole, one = (of_rule(each, "psi-major") for each in pages)
    assert one.median_s < whole.median_s < math.inf


def trained(phi: Phi, rates: dict[str, TrainingRate]) -> FieldBaseline:
    counts = msgspec.structs.replace(FIELD.slices[ALL], phi={"1d": phi}, rates={"1d": rates})
    return msgspec.structs.replace(FIELD, slices={ALL: counts})


def test_traffic_without_events_is_rejected() -> None:
    for rate in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"a rate of events must be above 0, not {rate}"):
            Traffic(rate)


HORIZONS_S = (HOUR_S, DAY_S, 7 * DAY_S)
STEP = 1.03
"""Sizes are rounded up to the next of a list that grows by less than 3 % a step."""
CELLS = (*[99_000] * 10, 10_000)
"""A million rows, of which one percent are null."""
WITH_NULLS = msgspec.structs.replace(FIELD, slices={ALL: SliceCounts(cells=CELLS)})
LARGE = ((500, 0.48, 0.071), (1_000, 0.477, 0.067), (5_000, 0.469, 0.063))
ALL_VALID = msgspec.structs.replace(FIELD, slices={ALL: SliceCounts(cells=(*[100_000] * 10, 0))})


def of_window(n: float, phi: float = 1.0) -> dict[str, smallest_change.Detectability]:
    traffic = WindowTraffic(ONE_DAY.windows[0], DAY_S, n, phi)
    (shift, _), (_, nulls) = (
        smallest_change.window_detectability(
            ONE_DAY, field, ALL, ALL, traffic, HORIZONS_S, smallest_change.change_tables(field)
        )
        for field in (ALL_VALID, WITH_NULLS)
    )
    return {"shift": shift, "nulls": nulls}


def test_golden_map_of_a_full_day() -> None:
    for n_eff, phi, shift, rate in (
        # Of 20,000 simulated windows of 50 and 100 independent events, 80 % are `major` at these shifts.
        *[(50, 1.0, 0.885, 0.176), (100, 1.0, 0.67, 0.134), (50, 30.0, 0.79, 0.176), (100, 30.0, 0.64, 0.134)],
        *[(n, phi, *of_n) for phi in (1.0, 30.0) for n, *of_n in LARGE],
    ):
        rows = of_window(n_eff * phi, phi)
        assert shift / 1.02 <= rows["shift"].smallest[2] <= shift * STEP * 1.01
        assert rate - 0.01 - 5e-4 <= rows["nulls"].smallest[2] <= (rate - 0.01 + 5e-4) * STEP


def test_a_longer_time_never_needs_a_larger_change() -> None:
    for row in of_window(20_000).values():
        hour, day, week = row.smallest
        assert week <= day <= hour
    assert of_window(20_000)["shift"].smallest[0] == math.inf


def test_a_window_without_enough_independent_events_detects_nothing() -> None:
    assert of_window(2_000, 300.0)["shift"].smallest == (math.inf,) * 3


def test_a_rule_detects_a_large_shift_by_its_short_window() -> None:
    windows = Traffic(10.0).windows(TWO_WINDOWS, WITH_NULLS)
    shift, nulls = smallest_change.rule_detectability(TWO_WINDOWS, WITH_NULLS, windows, HORIZONS_S, AlertSettings())
    assert (shift.rule, nulls.rule) == ("psi-major", "null-rate")
    assert shift.smallest[2] < shift.smallest[1] < shift.smallest[0] < math.inf
    assert shift.traffic == windows["1d"]
    unknown, _ = smallest_change.rule_detectability(TWO_WINDOWS, WITH_NULLS, {}, HORIZONS_S, AlertSettings())
    assert unknown.smallest == (math.inf,) * 3
    assert unknown.traffic is None


def test_the_smallest_size_is_of_the_worse_direction() -> None:
    table = smallest_change.ChangeTable(WITH_NULLS, "shift")
    assert table.smallest(lambda after: bool(after.bins[0] < 0.05)) == math.inf
    assert 0.05 < table.smallest(lambda after: bool(np.abs(after.bins[0] - 0.099) > 0.01)) < 0.2


def test_a_constant_has_no_shift_and_one_value_cannot_move() -> None:
    category = category_field()
    constant = msgspec.structs.replace(WITH_NULLS, std=0.0)
    one_value = msgspec.structs.replace(category, slices={ALL: SliceCounts(cells=(1_000, 0, 0, 0, 0))})
    changes = [set(smallest_change.change_tables(each)) for each in (WITH_NULLS, constant, category, one_value)]
    assert changes == [{"shift", "nulls"}, {"nulls"}, {"moved", "nulls"}, {"nulls"}]
