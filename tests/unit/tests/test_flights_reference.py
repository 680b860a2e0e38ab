"""The oracle of the flights tests against published figures and small cases counted by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tests.reference.flights_reference import (
    DAY_S,
    WEEK_S,
    Level,
    enough,
    reference_bins,
    reference_field,
    reference_phi,
    reference_psi,
    reference_rate,
    tumbling_windows,
    wilson,
    window_counts,
)

EVEN = [1_000] * 10
DRAWN = [130, 120, 110, 105, 100, 95, 95, 90, 80, 75]
LARGE = [10_000] * 10

GOLDEN: list[tuple[list[int], list[int], float, float, int, float, float, Level]] = [
    ([100] * 10, [100] * 10, 1, 0, 9, 0, 0.025810, "stable"),
    (EVEN, DRAWN, 1, 0.025676, 9, 0.002402, 0.040264, "stable"),
    (EVEN, [10, 8, 6, 4, 3, 3, 2, 2, 1, 1], 1, 0.395748, 9, 0, 0.641645, "insufficient"),
    ([5_000, 3_000, 1_500, 500], [400, 350, 200, 50], 1, 0.044515, 3, 0.019475, 0.073663, "stable"),
    (LARGE, [0, 500, *[1_000] * 6, 1_500, 2_000], 1, 0.814210, 9, 0.776665, 0.850840, "major"),
    (EVEN, DRAWN, 2, 0.025676, 9, 0, 0.041222, "stable"),
    ([*LARGE, 0, 0, 0], [*[10] * 10, 0, 0, 0], 1, 0, 9, 0, 0.129178, "insufficient"),
    ([*LARGE, 0, 0, 0], [*[100] * 9, 99, 1, 0, 0], 1, 0.002389, 9, 0, 0.014512, "stable"),
    ([*LARGE, 0], [*[95] * 10, 50], 1, 0.311545, 9, 0.211411, 0.407409, "major"),
    ([*LARGE, 0], [*[97] * 10, 30], 1, 0.171100, 9, 0.098258, 0.239380, "minor"),
    ([9_800, 200], [180, 20], 1, 0.140454, 1, 0.050780, 0.271990, "insufficient"),
]


@pytest.mark.parametrize(("base", "window", "phi", "psi", "df", "low", "high", "level"), GOLDEN)
def test_golden_psi(
    base: list[int], window: list[int], phi: float, psi: float, df: int, low: float, high: float, level: Level
) -> None:
    judged = reference_psi(np.array(base), np.array(window), phi)
    assert (judged.psi, judged.low, judged.high) == pytest.approx((psi, low, high), abs=1e-6)
    assert (judged.df, judged.level, judged.n) == (df, level, sum(window))


@pytest.mark.parametrize(("df", "n"), [(1, 223.90), (3, 262.90), (9, 367.99), (12, 416.65), (19, 524.45), (49, 943.0)])
def test_golden_enough(df: int, n: float) -> None:
    assert enough(df) == pytest.approx(n, abs=0.005)


def test_golden_rates() -> None:
    assert wilson(50, 1_000) == pytest.approx((0.038130, 0.065314), abs=1e-6)
    judged = reference_rate(0, 100_000, 20, 1_000)
    assert (judged.delta, judged.low, judged.high) == pytest.approx((0.02, 0.012984, 0.030690), abs=1e-6)
    assert judged.level == "minor"


@pytest.mark.parametrize(("k", "n", "phi", "level"), [(0, 381, 1, "stable"), (0, 380, 1, "insufficient")])
def test_a_rate_needs_enough_events(k: int, n: int, phi: float, level: Level) -> None:
    assert reference_rate(0, 100_000, k, n, phi).level == level


def test_deciles_lie_between_neighbouring_values() -> None:
    bins = reference_bins(pa.array(np.arange(100) + 0.5))
    assert bins.edges is not None
    assert bins.edges.tolist() == [10.0 * i for i in range(1, 10)]
    # A value on an edge belongs to the bin above; the outer bins are open; nulls have the last cell.
    assert bins.counts(pa.array([-5.0, 9.9, 10.0, 1e9, None])).tolist() == [2, 1, *[0] * 7, 1, 1]


def test_a_heavy_value_has_a_bin_of_its_own() -> None:
    bins = reference_bins(pa.array([*[0.0] * 85, *(0.5 + np.arange(15))]))
    assert bins.edges is not None
    assert bins.edges[0] == 0.25
    # 85 rows are nearest to the deciles 1 to 8 (the only cut there is); the ninth lies among the rest.
    assert bins.edges.tolist() == [0.25, 5.0]


def test_whole_numbers_of_few_values_have_one_bin_each() -> None:
    bins = reference_bins(pa.array([1, 1, 2, 4, None]))
    assert bins.counts(pa.array([0, 1, 2, 3, 4, 9, None])).tolist() == [2, 1, 3, 1]


def test_values_equal_in_32_bits_are_one_value() -> None:
    bins = reference_bins(pa.array([10.35702, 10.357019999999999] * 10 + [20.0] * 20))
    assert bins.edges is not None
    assert bins.edges.tolist() == pytest.approx([15.17851], abs=1e-5)


def test_rare_and_unseen_categories_are_other() -> None:
    bins = reference_bins(pa.array(["a"] * 990 + ["b"] * 5 + ["c"] * 4 + [None]))
    assert bins.categories == ("a", "b")
    assert bins.counts(pa.array(["a", "b", "b", "c", "new", None])).tolist() == [1, 2, 2, 1]


def test_windows_for_phi_lie_wholly_within_training() -> None:
    hourly = np.arange(0, 20 * DAY_S, 3_600) + DAY_S  # days 1 to 20 since the epoch, a Thursday
    assert [int(rows.sum()) for rows in tumbling_windows(hourly, WEEK_S)] == [168]
    assert len(list(tumbling_windows(hourly, DAY_S))) == 19  # the 20th ends after the last event


def test_phi_is_one_for_independent_rows_and_large_for_days_that_repeat_themselves() -> None:
    rng = np.random.default_rng(2013)
    at_s = np.arange(0, 60 * DAY_S, 600)
    independent = rng.integers(0, 10, at_s.size)
    assert reference_phi(independent, 10, at_s, DAY_S)[0] < 1.3
    by_day = np.repeat(rng.integers(0, 10, 60), at_s.size // 60)
    assert reference_phi(by_day, 10, at_s, DAY_S)[0] > 50


def test_phi_of_few_windows_is_not_below_the_shorter_windows_own() -> None:
    at_s = np.arange(0, 60 * DAY_S, 3_600)
    # Every day of a week holds another value, every week the same ones.
    train = pa.table({"weekday": at_s // DAY_S % 7})
    field = reference_field("weekday", train, at_s)
    assert field.phi_windows == {DAY_S: 59, WEEK_S: 8}
    assert field.phi[WEEK_S] == field.phi[DAY_S] > 10
    months = reference_field("weekday", train, at_s, (DAY_S, 15 * DAY_S))
    assert months.phi_windows[15 * DAY_S] == 3
    assert months.phi[15 * DAY_S] == months.phi[DAY_S]


def test_windows_end_at_multiples_of_the_hop_and_hold_their_length() -> None:
    at_s = np.array([10, 50, 70, 130])
    field = reference_field("x", pa.table({"x": [1, 1, 2, 3]}), at_s, ())
    windows = {end: counts.tolist() for end, counts in window_counts(field, pa.array([1, 2, 2, 3]), at_s, 120, 60)}
    assert windows == {60: [1, 1, 0, 0], 120: [1, 2, 0, 0], 180: [0, 1, 1, 0], 240: [0, 0, 1, 0]}
