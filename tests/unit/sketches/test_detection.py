import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import multinomial

from barograph_server.sketches.baseline.baseline import ALL, QUANTILE_RANKS, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.detection import effects
from barograph_server.sketches.detection.delay import DetectionCurve, share_at
from barograph_server.sketches.detection.onset import KAPPA, Onset, estimate_onset
from barograph_server.sketches.detection.psi_power import exceedance, interval_exceedance, level_threshold, mixed_psi
from barograph_server.sketches.detection.rate_power import count_exceedance, least_major_count, least_paging_count
from barograph_server.sketches.drift.power import n_star
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.drift.rates import rate_verdicts
from tests.reference.page_times import deciles
from tests.support.baselines import category, numeric


def normal_field() -> FieldBaseline:
    """A standard normal field of 10,000 rows, a tenth of them null, without values above 4."""
    edges = tuple(ndtri(np.arange(1, 10) / 10).tolist())
    quantiles = ndtri(np.linspace(0.0005, 0.9995, QUANTILE_RANKS))
    moments = {"mean": 0.0, "std": 1.0, "quantiles": tuple(quantiles.tolist())}
    return numeric("x", *edges, counts=SliceCounts(cells=(*[900] * 10, 1_000)), low=-4.0, high=4.0, **moments)


def category_field() -> FieldBaseline:
    return category("c", "a", "b", "c", counts=SliceCounts(cells=(600, 300, 50, 30, 20), singletons=10))


def test_a_shift_a_factor_and_a_constant_are_those_of_the_distribution() -> None:
    field = normal_field()
    trained, same = effects.trained_shares(field), effects.shifted(field, 0.0)
    assert same.bins == pytest.approx(trained.bins, abs=1e-12)
    assert same.rates == pytest.approx(trained.rates)
    after = effects.shifted(field, 1.0)
    assert after.bins[:-1] == pytest.approx(0.9 * deciles(1.0), abs=2e-3)
    assert after.bins[-1] == pytest.approx(0.1)
    assert after.bins.sum() == pytest.approx(1.0)
    assert after.rates["above"] == pytest.approx(0.9 * (1.0 - ndtr(3.0)), abs=5e-4)
    assert after.rates["below"] == 0.0
    wide = effects.scaled(field, 1.8)
    assert wide.bins[:-1] == pytest.approx(0.9 * deciles(0.0, 1.8), abs=2e-3)
    hangs = effects.stuck(field, 0.05)
    assert hangs.bins[5] == pytest.approx(0.9)
    assert mixed_psi(trained.bins, hangs.bins, 1.0) > 5.0


def test_whole_numbers_have_no_values_between_them_and_open_limits_are_not_passed() -> None:
    quantiles = tuple(np.minimum(np.arange(QUANTILE_RANKS) // 100, 9.0).tolist())
    trained_counts = SliceCounts(cells=(*[100] * 10, 0))
    field = numeric("i", *np.arange(9) + 0.5, counts=trained_counts, integer=True, std=1.0, quantiles=quantiles)
    trained, less, one = (effects.shifted(field, sd) for sd in (0.0, 0.45, 1.0))
    assert less.bins == pytest.approx(trained.bins, abs=1e-12)
    assert one.bins == pytest.approx([0.0, *[0.1] * 8, 0.2, 0.0], abs=1e-12)
    assert one.rates == effects.trained_shares(field).rates


def test_a_rate_grows_at_the_cost_of_all_others() -> None:
    field = category_field()
    before = effects.trained_shares(field)
    for kind, column in (("null", -1), ("unseen", -2)):
        after = effects.with_rate(field, kind, 0.5)
        assert after.rates[kind] == pytest.approx(0.5)
        assert after.bins.sum() == pytest.approx(1.0)
        assert after.bins[column] > before.bins[column]
        assert after.bins[0] / after.bins[1] == pytest.approx(2.0)
    # Invalid values are in no bin.
    numbers = normal_field()
    after = effects.with_rate(numbers, "invalid", 0.3)
    assert after.bins == pytest.approx(effects.trained_shares(numbers).bins)
    assert (after.rates["invalid"], after.rates["null"], after.valid) == pytest.approx((0.3, 0.07, 0.63))
    # Events move between the frequent categories.
    assert effects.moved_share(field, 0.1).bins[:2] == pytest.approx([0.5, 0.4])
    assert effects.moved_share(field, 0.9).bins[0] == 0.0


def test_counted_events_have_the_bins_of_training_and_unfit_changes_are_rejected() -> None:
    field = category_field()
    after = effects.observed_shares(field, SliceCounts(cells=(10, 20, 30, 20, 20), invalid=25))
    assert after.bins == pytest.approx([0.1, 0.2, 0.3, 0.2, 0.2])
    assert (after.rates["invalid"], after.rates["unseen"]) == pytest.approx((0.2, 0.16))
    assert effects.observed_shares(field, field.slices[ALL]).rates == effects.trained_shares(field).rates
    with pytest.raises(ValueError, match="no numbers in training"):
        effects.shifted(field, 1.0)
    with pytest.raises(ValueError, match="does not change alone"):
        effects.with_rate(field, "below", 0.1)
    with pytest.raises(ValueError, match="lies in"):
        effects.with_rate(field, "null", 1.5)
    with pytest.raises(ValueError, match="no row"):
        effects.trained_shares(category("e", "a"))


BEFORE, AFTER = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.3, 0.3])


def test_the_estimate_equals_a_search_with_scipy() -> None:
    assert pytest.approx(7.353, abs=0.001) == KAPPA, "the published critical value"
    counts = np.array([[6, 3, 1], [5, 4, 1], [6, 2, 2], [1, 3, 6], [2, 1, 7], [0, 4, 6]])
    ratios = []
    for start in range(1, len(counts)):
        total = 0.0
        for part in (counts[:start], counts[start:]):
            sums = part.sum(axis=0)
            # The coefficient does not depend on the shares; without it, the likelihood of the sequence remains.
            log_coefficient = math.lgamma(sums.sum() + 1) - sum(math.lgamma(each + 1) for each in sums)
            total += float(multinomial.logpmf(sums, sums.sum(), sums / sums.sum())) - log_coefficient
        ratios.append(2 * total)
    best = int(np.argmax(ratios))
    inside = [index + 1 for index, ratio in enumerate(ratios) if ratios[best] - ratio <= KAPPA]
    assert estimate_onset(counts) == Onset(best + 1, inside[0], inside[-1])
    # Empty panes belong to the interval, and too few events have no onset.
    assert estimate_onset(np.array([[50, 0]] * 10 + [[0, 0]] * 5 + [[0, 50]] * 10)) == Onset(10, 10, 15)
    for few in (np.zeros((5, 3), dtype=np.int64), np.ones((1, 3), dtype=np.int64)):
        assert estimate_onset(few) is None


@pytest.mark.parametrize("runs", [20, pytest.param(300, marks=pytest.mark.long)])
def test_the_interval_covers_the_onset_and_unchanged_panes_have_none(runs: int) -> None:
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(runs):
        start = int(random.integers(50, 150))
        shares = [BEFORE] * start + [AFTER] * (200 - start)
        onset = estimate_onset(np.array([random.multinomial(random.poisson(30), each) for each in shares]))
        assert onset is not None
        covered += onset.low <= start <= onset.high
    assert covered >= 0.93 * runs
    random = np.random.default_rng(8)
    unchanged = [random.multinomial(30, BEFORE, size=200) for _ in range(runs)]
    assert sum(estimate_onset(each) is not None for each in unchanged) <= 0.01 * runs


def test_golden_psi_of_a_mixture() -> None:
    stuck = np.eye(10)[4]
    before = deciles()
    for after, whole, share in (
        (deciles(0.25), 0.059815581829, None),
        (deciles(0.5), 0.237749204686, 0.921104964588),
        (deciles(1.0), 0.926142424262, 0.474009878157),
        (deciles(0.0, 1.8), 0.372082131943, 0.718551997703),
        (stuck, 8.28308935503, 0.186488502961),
    ):
        assert mixed_psi(before, after, 1.0) == pytest.approx(whole, abs=1e-9)
        assert mixed_psi(before, after, 0.0) == 0.0
        if share is None:
            assert whole < 0.2
        else:
            solution = brentq(lambda at, b=before, a=after: mixed_psi(b, a, at) - 0.2, 0.0, 1.0, xtol=1e-13)
            assert solution == pytest.approx(share, abs=1e-9)
    with pytest.raises(ValueError, match=r"one shape \(B,\), not \(10,\) and \(9,\)"):
        mixed_psi(before, before[:9], 1.0)
    with pytest.raises(ValueError, match=r"lies in \[0, 1\], not at 1\.5"):
        mixed_psi(before, stuck, 1.5)


@pytest.mark.parametrize(
    ("n_eff", "psi", "shift"), [(500, 0.218393458869, 0.479047070216), (1000, 0.216271779527, 0.476696170714)]
)
def test_golden_change_seen_in_a_full_window(n_eff: int, psi: float, shift: float) -> None:
    threshold = level_threshold(n_eff, 9, 0.1, 0.2)
    solution = brentq(lambda true: float(exceedance(true, n_eff, 9, threshold)) - 0.8, 0.0, 2.0, xtol=1e-14)
    assert solution == pytest.approx(psi, abs=1e-9)
    solution = brentq(lambda sd: mixed_psi(deciles(), deciles(sd), 1.0) - psi, 0.0, 2.0, xtol=1e-14)
    assert solution == pytest.approx(shift, abs=1e-9)


def test_the_threshold_is_that_of_the_verdict() -> None:
    for n in (60, 150, 300, 400, 2_000):
        rng = np.random.default_rng(n)
        shares = deciles(0.3 + 0.5 * rng.random())
        verdicts = psi_verdicts(np.full(10, 10**9), rng.multinomial(n, shares, 4_000), [0])
        threshold = level_threshold(n, 9, 0.1, 0.2)
        is_major = verdicts.level[:, 0] == 2
        exceeds = verdicts.psi[:, 0] > threshold
        # The interval of a verdict is widened for drift in rare bins, so near the threshold a verdict can be milder.
        assert not (is_major & ~exceeds).any(), n
        assert (is_major == exceeds).mean() > 0.95, n
        assert (n >= n_star(9)) == (threshold == 0.2)


@pytest.mark.parametrize("n", [600, 1_000, 9_000])
def test_the_probability_to_page_alone_is_that_of_verdicts(n: int) -> None:
    for name, after, share in (
        ("a shift", deciles(1.0), 1.0),
        ("a part of a shift", deciles(1.4), 0.7),
        ("an empty bin", np.array([*[0.1] * 8, 0.2, 0.0]), 1.0),
        ("nearly empty bins", np.array([0.0, 0.0, *[0.125] * 8]), 0.97),
    ):
        windows = np.random.default_rng(n).multinomial(n, (1.0 - share) * deciles() + share * after, 4_000)
        sample = {"events": n, "rows": 2_000_000, "phi": 1.0, "df": 9}
        low = psi_verdicts(np.full(10, 200_000), windows, [0]).low[:, 0]
        for quantile in (0.1, 0.5, 0.9):
            threshold = float(np.quantile(low, 1.0 - quantile))
            predicted = interval_exceedance(deciles(), after, share, **sample, threshold=threshold)
            assert predicted == pytest.approx(quantile, abs=0.12), name


def detection(after: NDArray[np.float64], n_eff: float) -> Callable[[float], float]:
    threshold = level_threshold(n_eff, 9, 0.1, 0.2)
    return lambda share: float(exceedance(mixed_psi(deciles(), after, share), n_eff, 9, threshold))


def test_golden_hours() -> None:
    for after, n_eff, hours in (
        (deciles(1.0), 500, (9.30419489622, 10.8829741833, 12.4585640144)),
        (deciles(0.0, 1.8), 500, (14.0892547447, 16.4914671608, 18.9058176911)),
        (deciles(0.75), 1000, (13.3185792632, 14.7274307827, 16.1225206412)),
    ):
        curve = DetectionCurve(24.0, 0.0, detection(after, n_eff))
        assert [curve.reached_s(u) for u in (0.1, 0.5, 0.9)] == pytest.approx(hours, abs=1e-9)
        # The wait for the next window is added.
        hopping = DetectionCurve(24.0, 6.0, detection(after, n_eff))
        assert hopping.reached_s(0.5) == pytest.approx(hours[1] + 3.0)


def test_reached_within_a_time_agrees_with_the_time() -> None:
    curve = DetectionCurve(24.0, 1.0, detection(deciles(1.0), 500))
    at = curve.reached_s(0.8)
    assert curve.is_reached(0.8, at + 1e-6)
    assert not curve.is_reached(0.8, at - 1e-6)
    assert not curve.is_reached(0.8, 0.5)
    # A change that is too small is never detected, and what is always detected takes no share.
    assert DetectionCurve(24.0, 1.0, detection(deciles(0.25), 500)).reached_s(0.5) == math.inf
    assert share_at(lambda share: 1.0, 0.5) == 0.0
    for quantile in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            share_at(lambda share: share, quantile)


def test_golden_counts() -> None:
    for n_eff, least, probability in (
        (50, 7, 0.229773158196),
        (381, 23, 0.997729009967),
        (500, 31, 0.998997450292),
        (5000, 301, 1.0),
    ):
        assert least_major_count(n_eff, 1e4, 1e6, 0.01, 0.05) == least
        assert count_exceedance(least, n_eff, 0.1) == pytest.approx(probability, abs=1e-9)
    # Zero events are always reached, and a rate of training that cannot grow never pages.
    assert [count_exceedance(k, 10, rate) for k, rate in ((0, 0.0), (1, 0.0), (10, 1.0))] == [1.0, 0.0, 1.0]
    assert least_paging_count(500, 970, 1_000, 0.05, 1e-4) is None
    assert count_exceedance(None, 500, 1.0) == 0.0


@pytest.mark.parametrize("n", [20, 50, 300, 500])
def test_the_least_count_is_that_of_verdicts(n: int) -> None:
    k = np.arange(n + 1)
    verdicts = rate_verdicts(k, n, 30, 3_000)
    assert least_major_count(n, 30, 3_000, 0.01, 0.05) == int(k[verdicts.level == Level.major].min())
    for p in (1e-4, 1e-7):
        pages = (verdicts.low > 0.05) & (verdicts.p_value < p)
        assert least_paging_count(n, 30, 3_000, 0.05, p) == int(k[pages].min())
