"""The smallest change that is detected within a time."""

import math

import msgspec
import numpy as np
import pytest
from barograph.contract import Window

from barograph_server.alerts.prediction.smallest_change import (
    ChangeTable,
    Detectability,
    change_tables,
    rule_detectability,
    window_detectability,
)
from barograph_server.alerts.prediction.traffic import Traffic
from barograph_server.alerts.prediction.window_power import WindowTraffic
from barograph_server.alerts.settings import AlertSettings
from barograph_server.sketches.baseline.baseline import ALL, SliceCounts
from tests.unit.alerts.prediction.test_page_time import DAY_S, HOUR_S, ONE_DAY, TWO_WINDOWS
from tests.unit.sketches.test_detection import category_field, normal_field

HORIZONS_S = (HOUR_S, DAY_S, 7 * DAY_S)
STEP = 1.03
"""Sizes are rounded up to the next of a list that grows by less than 3 % a step."""
CELLS = (*[99_000] * 10, 10_000)
"""A million rows, of which one percent are null."""
FIELD = msgspec.structs.replace(normal_field(), slices={ALL: SliceCounts(cells=CELLS)})
LARGE = ((500, 0.48, 0.071), (1_000, 0.477, 0.067), (5_000, 0.469, 0.063))
ALL_VALID = msgspec.structs.replace(normal_field(), slices={ALL: SliceCounts(cells=(*[100_000] * 10, 0))})


def of_window(n: float, phi: float = 1.0) -> dict[str, Detectability]:
    traffic = WindowTraffic(Window(DAY_S, HOUR_S), DAY_S, n, phi)
    rows: list[Detectability] = []
    for field in (ALL_VALID, FIELD):
        rows += window_detectability(ONE_DAY, field, ALL, ALL, traffic, HORIZONS_S, change_tables(field))
    return {"shift": rows[0], "nulls": rows[3]}


@pytest.mark.parametrize(
    ("n_eff", "phi", "shift", "rate"),
    [
        # Of 20,000 simulated windows of 50 and 100 independent events, 80 % are `major` at these shifts.
        *[(50, 1.0, 0.885, 0.176), (100, 1.0, 0.67, 0.134), (50, 30.0, 0.79, 0.176), (100, 30.0, 0.64, 0.134)],
        *[(n, phi, *of_n) for phi in (1.0, 30.0) for n, *of_n in LARGE],
    ],
)
def test_golden_map_of_a_full_day(n_eff: float, phi: float, shift: float, rate: float) -> None:
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
    windows = Traffic(10.0).windows(TWO_WINDOWS, FIELD)
    shift, nulls = rule_detectability(TWO_WINDOWS, FIELD, windows, HORIZONS_S, AlertSettings())
    assert (shift.rule, nulls.rule) == ("psi-major", "null-rate")
    assert shift.smallest[2] < shift.smallest[1] < shift.smallest[0] < math.inf
    assert shift.traffic == windows["1d"]
    [row] = [
        row for row in rule_detectability(TWO_WINDOWS, FIELD, {}, HORIZONS_S, AlertSettings()) if row.change == "shift"
    ]
    assert row.smallest == (math.inf,) * 3
    assert row.traffic is None


def test_the_smallest_size_is_of_the_worse_direction() -> None:
    table = ChangeTable(FIELD, "shift")
    up = table.smallest(lambda after: bool(after.bins[0] < 0.05))
    assert up == math.inf
    either = table.smallest(lambda after: bool(np.abs(after.bins[0] - 0.099) > 0.01))
    assert 0.05 < either < 0.2


def test_a_constant_has_no_shift_and_one_value_cannot_move() -> None:
    category = category_field()
    constant = msgspec.structs.replace(FIELD, std=0.0)
    one_value = msgspec.structs.replace(category, slices={ALL: SliceCounts(cells=(1_000, 0, 0, 0, 0))})
    changes = [set(change_tables(each)) for each in (FIELD, constant, category, one_value)]
    assert changes == [{"shift", "nulls"}, {"nulls"}, {"moved", "nulls"}, {"nulls"}]
