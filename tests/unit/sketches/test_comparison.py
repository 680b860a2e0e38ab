from functools import partial

import numpy as np
import pytest
from barograph.contract import SketchKind
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import betaln
from scipy.stats import chi2, fisher_exact, ttest_ind

from barograph_server.sketches.baseline.baseline import FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.baseline.levels import REASON_NAMES, Level
from barograph_server.sketches.comparison.aligned import align
from barograph_server.sketches.comparison.differences import mean_differences, quantile_differences, rate_differences
from barograph_server.sketches.comparison.paired_items import (
    PairedDifference,
    SuiteOutcome,
    judge_difference,
    least_items_to_accept,
    paired_difference,
)
from barograph_server.sketches.comparison.rebin import rebin, split_counts
from barograph_server.sketches.comparison.sample_ratio import CONCENTRATIONS, anytime_p, sample_ratio
from barograph_server.sketches.comparison.two_sample import psi_differences
from barograph_server.sketches.drift.rates import newcombe
from barograph_server.sketches.sketch.numeric import numeric_sketch
from tests.reference.false_alarms import at_most
from tests.support.baselines import baseline, category, numeric
from tests.support.outputs import output_baseline
from tests.support.sketches import sketch_of
from tests.unit.sketches.drift.test_psi_simulated import RARE, TEN, alarms, psi
from tests.unit.sketches.drift.test_psi_simulated import SHARES as ONE_SIDED

merged = partial(sketch_of, parts=15)


def test_means_are_welchs_and_overdispersion_widens() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal(3.0, 1.0, 40), rng.normal(3.5, 4.0, 90)
    result = mean_differences(40, left.mean(), left.var(ddof=1), 90, right.mean(), right.var(ddof=1))
    reference = ttest_ind(right, left, equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert result.p_value.item() == pytest.approx(reference.pvalue, rel=1e-9)
    assert result.df.item() == pytest.approx(reference.df, rel=1e-9)
    assert (result.low.item(), result.high.item()) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert result.difference.item() == pytest.approx(right.mean() - left.mean())
    # Overdispersion widens as fewer events would.
    plain = mean_differences(100, 0.0, 2.0, 300, 0.5, 3.0)
    paid = mean_differences(400, 0.0, 2.0, 600, 0.5, 3.0, phi_left=4.0, phi_right=2.0)
    assert paid.p_value.item() == pytest.approx(plain.p_value.item())
    assert paid.low.item() == pytest.approx(plain.low.item())


def test_too_little_for_a_mean_is_an_open_interval() -> None:
    for n, variance, phi in ((0, 1.0, 1.0), (1, np.nan, 1.0), (5, 1.0, 5.0), (50, np.inf, 1.0), (50, np.nan, 1.0)):
        result = mean_differences(n, 1.0, variance, 100, 2.0, 1.0, phi_left=phi)
        assert (result.low.item(), result.high.item(), result.p_value.item()) == (-np.inf, np.inf, 1.0)
        assert np.isnan(result.difference.item()) == (n == 0)
    # Constants differ or do not.
    result = mean_differences(10, [1.0, 1.0], 0.0, 10, [1.0, 2.0], 0.0)
    assert result.p_value.tolist() == [1.0, 0.0]
    assert result.low.tolist() == result.high.tolist() == [0.0, 1.0]


def test_rates_are_newcombes_and_fishers() -> None:
    result = rate_differences(20, 1_000, 45, 900)
    delta, low, high = newcombe(45, 900, 20, 1_000)
    assert (result.difference.item(), result.low.item(), result.high.item()) == (delta.item(), low.item(), high.item())
    assert result.p_value.item() == pytest.approx(fisher_exact(np.array([[20, 980], [45, 855]])).pvalue, rel=1e-8)
    assert (result.left.item(), result.right.item()) == (0.02, 0.05)


def test_levels_of_rates_are_symmetric() -> None:
    for few, many, n, level in (
        (10, 11, 1_000, Level.stable),
        (10, 10, 300, Level.insufficient),
        (10, 40, 1_000, Level.minor),
        (10, 120, 1_000, Level.major),
        (0, 10, 200, Level.insufficient),
        (300, 340, 1_000, Level.insufficient),
        (300, 700, 1_000, Level.major),
    ):
        assert rate_differences(few, n, many, n).level.item() == level, (few, many, n)
        assert rate_differences(many, n, few, n).level.item() == level, (many, few, n)


def test_reasons_of_insufficient_data_of_rates() -> None:
    for k, n, phi, completeness, reason in (
        (100, 1_000, 1.0, 1.0, ""),
        (0, 0, 1.0, 1.0, "no events"),
        (10, 300, 1.0, 1.0, "too few events"),
        (100, 1_000, 5.0, 1.0, "correlated events"),
        (10, 300, 1.0, 0.3, "lost events"),
    ):
        result = rate_differences(k, n, k, n, phi_left=phi, phi_right=phi, completeness=completeness)
        assert REASON_NAMES[result.reason.item()] == reason
        assert (result.level.item() == Level.insufficient) == bool(reason), reason
    # A side without events leaves a rate unknown.
    result = rate_differences([0, 3], [0, 10], [5, 0], [10, 0])
    assert result.level.tolist() == [Level.insufficient] * 2
    assert result.low.tolist() == [-1.0, -1.0]
    assert result.high.tolist() == [1.0, 1.0]
    assert result.p_value.tolist() == [1.0, 1.0]


def test_bad_rates_and_ranks_are_rejected() -> None:
    right: dict[str, float] = {"k_left": 1, "n_left": 10, "k_right": 1, "n_right": 10}
    for wrong in ({"k_left": 5, "n_left": 4}, {"phi_left": 0.5}, {"minor": 0.05, "major": 0.01}, {"k_left": -1}):
        with pytest.raises(ValueError):
            rate_differences(**(right | wrong))
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_differences(sketch_of(np.arange(3.0)), sketch_of(np.arange(3.0)), [1.0])


def test_quantiles_of_few_values_are_exact() -> None:
    left, right = np.arange(1.0, 102.0), np.arange(1.0, 102.0) + 30.0
    result = quantile_differences(sketch_of(left), sketch_of(right), [0.5, 0.99])
    assert result.difference.tolist() == [30.0, 30.0]
    assert result.left.tolist() == [51.0, 100.0]
    assert result.low[0] > 15.0
    # Of a hundred values the true 99 % point may lie beyond the largest.
    assert np.isinf(result.high[1])
    assert np.isnan(result.p_value).all()
    # An empty sketch has no quantile.
    result = quantile_differences(sketch_of(np.empty(0)), sketch_of(np.arange(10.0)), [0.5])
    assert np.isnan(result.difference).all()
    assert (result.low.item(), result.high.item()) == (-np.inf, np.inf)


def test_the_interval_is_that_of_bonett_and_price() -> None:
    for better, worse, items, low, high in (
        (0, 10, 60, -0.2631737368602, -0.0594069083011),
        (0, 0, 50, -0.0533039932442, 0.0533039932442),
        (5, 12, 100, -0.1513195112201, 0.0140646092593),
    ):
        rest = items - better - worse
        difference = paired_difference([0] * better + [1] * worse + [1] * rest, [1] * better + [0] * worse + [1] * rest)
        assert (difference.items, difference.better, difference.worse) == (items, better, worse)
        assert difference.value == pytest.approx((better - worse) / items, abs=1e-12)
        assert (difference.low, difference.high) == pytest.approx((low, high), abs=1e-9)
    nothing = paired_difference([], [])
    assert (nothing.items, nothing.low, nothing.high) == (0, -1.0, 1.0)
    assert judge_difference(nothing, 0.5, 0) is SuiteOutcome.INSUFFICIENT


def test_the_fewest_items_at_which_an_equal_candidate_is_accepted() -> None:
    for margin, least in ((0.1, 26), (0.05, 54), (0.02, 137), (0.01, 276), (1.0, 1)):
        assert least_items_to_accept(margin) == least
        for items, outcome in ((least, SuiteOutcome.ACCEPT), (least - 1, SuiteOutcome.INSUFFICIENT)):
            assert judge_difference(paired_difference([1.0] * items, [1.0] * items), margin, 1) is outcome
    # A tiny margin needs more items than are tried.
    assert least_items_to_accept(1e-9) is None
    assert least_items_to_accept(0.1, most=25) is None


def test_decisions() -> None:
    for low, high, items, outcome in (
        (-0.04, 0.1, 50, SuiteOutcome.ACCEPT),
        (-0.04, -0.01, 50, SuiteOutcome.ACCEPT),
        (-0.04, 0.1, 49, SuiteOutcome.INSUFFICIENT),
        (-0.05, 0.1, 50, SuiteOutcome.INSUFFICIENT),
        (-0.3, -0.01, 50, SuiteOutcome.HOLD),
        (-0.3, -0.01, 49, SuiteOutcome.INSUFFICIENT),
    ):
        assert judge_difference(PairedDifference(items, 1, 1, 0.0, low, high), 0.05, 50) is outcome, (low, items)
    with pytest.raises(ValueError, match="a margin is above 0"):
        least_items_to_accept(0.0)
    with pytest.raises(ValueError, match="one shape"):
        paired_difference([1], [1, 0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        paired_difference([1], [2])
    with pytest.raises(ValueError, match="above 0"):
        judge_difference(paired_difference([1], [1]), 0.0, 1)


@pytest.mark.parametrize("runs", [100, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("epochs", [1, 4])
def test_a_candidate_at_the_margin_is_rarely_accepted_and_an_equal_one_rarely_on_hold(epochs: int, runs: int) -> None:
    rng = np.random.default_rng(3)
    accepted = on_hold = 0
    for _ in range(runs):
        p = rng.beta(1.2, 0.8, 60)
        old = rng.binomial(epochs, p) / epochs
        worse = paired_difference(old, rng.binomial(epochs, p * (1 - 0.1 / 0.6)) / epochs)
        equal = paired_difference(old, rng.binomial(epochs, p) / epochs)
        accepted += judge_difference(worse, 0.1, 50) is SuiteOutcome.ACCEPT
        on_hold += judge_difference(equal, 0.1, 50) is SuiteOutcome.HOLD
    assert max(accepted, on_hold) <= 0.045 * runs


def layout(*fields: FieldBaseline) -> Layout:
    return Layout(baseline(*fields))


def categories(name: str, **counts: int) -> FieldBaseline:
    return category(name, *counts, counts=SliceCounts(cells=(*counts.values(), 0, 0)))


def test_one_baseline_has_the_bins_that_windows_are_judged_on() -> None:
    own = Layout(output_baseline("1", 1))
    bins = PsiBins(own)
    for field in align(own, [own, own], [each.name for each in own.fields]):
        index = own.field_index[field.name]
        group = bins.groups_in(0)[index]
        assert list(field.labels) == bins.group_labels(group)
        cells = np.arange(1, own.n_cells[index] + 1)
        counts = own.empty_counts()[None]
        counts[0, 0, own.starts[index] : own.starts[index] + len(cells)] = cells
        judged = bins.window_bins(counts)[0, bins.starts[group] :][: field.n_bins]
        indices = field.bins_of_cells[0]
        assert indices is not None
        assert np.bincount(indices, cells).astype(int).tolist() == judged.tolist()


def test_categories_that_not_all_keep_are_other() -> None:
    old = layout(categories("class", cat=500, dog=400, bird=100))
    new = layout(categories("class", bird=300, fish=300, cat=398, emu=2))
    (field,) = align(new, [old, new], ["class"])
    # emu is under 0.5 % of the reference's rows, fish is not kept by the old one.
    assert field.labels == ("bird", "cat", "other", "null")
    assert field.categories == ("bird", "cat")
    bins = [each.tolist() for each in field.bins_of_cells if each is not None]
    assert bins == [[1, 2, 0, 2, 3], [0, 2, 1, 2, 2, 3]]


def test_numbers_on_other_edges_have_no_bins() -> None:
    old, new = layout(numeric("score", 0.2, 0.5)), layout(numeric("score", 0.2, 0.6))
    (field,) = align(new, [old, new, new], ["score"])
    assert field.edges == (0.2, 0.6)
    assert field.bins_of_cells[0] is None
    assert [each.tolist() for each in field.bins_of_cells if each is not None] == [[0, 1, 2, 3]] * 2
    assert field.n_bins == 4
    # Missing fields and fields of another kind are omitted.
    one = layout(numeric("score", 0.5), numeric("class", 1.0), numeric("latency_ms", 5.0))
    other = layout(numeric("latency_ms", 5.0), categories("class", a=100))
    result = align(one, [one, other], ["score", "class", "latency_ms", "nothing"])
    assert [field.name for field in result] == ["latency_ms"]
    assert result[0].field_index == (2, 0)
    without_rows = layout(numeric("score"))
    assert align(without_rows, [without_rows, without_rows], ["score"]) == []


def exact(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def test_few_values_are_counted_exactly() -> None:
    few = merged(np.array([0.0, 1.0, 1.0, 2.0, 3.0, 5.0]))
    for sketch, counts in ((few, [1, 3, 2, 0]), (numeric_sketch(False, "kll"), [0, 0, 0, 0])):
        rebinned = rebin(sketch, [1.0, 2.5, 9.0])
        assert rebinned.counts.tolist() == counts
        assert rebinned.noise == 0.0
    assert split_counts(few, [1.5], [3, 3], [1.0, 2.5, 9.0]).tolist() == [1, 3, 2, 0]
    # Rows without values in the sketch are not lost.
    two = merged(np.array([5.0, 6.0]))
    assert split_counts(two, [0.0], [7, 2], [-1.0, 5.5]).tolist() == [7, 1, 1]


@pytest.mark.parametrize(
    ("kind", "bins"),
    [
        ("kll", 10),
        ("req", 10),
        *(pytest.param(kind, bins, marks=pytest.mark.long) for kind in ("kll", "req") for bins in (4, 20)),
    ],
)
def test_noise_is_within_the_stated_bound(kind: SketchKind, bins: int) -> None:
    """The PSI of a sketch's counts against the exact ones of the same values, times n_eff, is at most df on average."""
    rng = np.random.default_rng(bins)
    edges = np.quantile(rng.normal(size=100_000), np.arange(1, bins) / bins)
    t = []
    for _ in range(60):
        values = rng.normal(size=20_000)
        rebinned = rebin(merged(values, kind), edges)
        assert rebinned.counts.sum() == 20_000
        truth = exact(values.astype(np.float32).astype(np.float64), edges)
        share, other = rebinned.counts / 20_000, truth / 20_000
        t.append(((share - other) ** 2 / other).sum() / rebinned.noise)
    assert np.mean(t) <= (bins - 1) * 1.1


def test_split_counts_keep_their_sum_and_the_old_edges() -> None:
    values = np.random.default_rng(8).normal(size=50_000)
    old, new = np.array([-1.0, 0.0, 2.0]), np.array([-1.5, 0.0, 0.5])
    counts = split_counts(merged(values), old, exact(values, old), new)
    truth = exact(values, new)
    assert counts.sum() == truth.sum()
    assert counts[:2].sum() == truth[:2].sum()
    assert np.abs(counts - truth).max() <= 0.0165 * 50_000


HALF = [0.5, 0.5]


def looks(share: float, seed: int) -> NDArray[np.int64]:
    """Units of two arms at 336 looks, with 100 more at each, of 200 tests: (tests, looks, 2)."""
    left = np.random.default_rng(seed).binomial(100, share, size=(200, 336)).cumsum(axis=1)
    return np.stack([left, 100 * np.arange(1, 337) - left], axis=-1)


def test_two_arms_are_the_beta_mixture() -> None:
    a = CONCENTRATIONS / 2
    evidence = np.mean(np.exp(betaln(a + 620, a + 480) - betaln(a, a) + 1_100 * np.log(2)))
    assert anytime_p([620, 480], HALF) == pytest.approx(1 / evidence, rel=1e-9)
    # Many arms and unequal shares; a gross mismatch is found among few.
    shares = [0.8, 0.15, 0.05]
    assert anytime_p([8_000, 1_500, 500], shares) > 0.5
    assert anytime_p([8_000, 1_300, 700], shares) < 1e-6
    assert anytime_p([30, 0], HALF) < 0.001
    assert anytime_p([300, 200], HALF) < 0.002


def test_52_to_48_is_detected_and_an_even_split_is_not() -> None:
    units, even = looks(0.52, 10), looks(0.5, 9)
    alarmed = np.minimum.accumulate(anytime_p(units, HALF), axis=1) <= 0.001
    assert alarmed[:, -1].mean() >= 0.99
    assert np.median((alarmed.argmax(axis=1) + 1) * 100) < 15_000
    assert (anytime_p(even, HALF).min(axis=1) > 0.001).all()
    # Five requests of one user go to one arm: requests are no units.
    assert (anytime_p(5 * even, HALF).min(axis=1) <= 0.001).mean() > 0.3


def test_levels() -> None:
    for units, level, reason in (
        ([5_100, 4_900], Level.stable, ""),
        ([51, 49], Level.insufficient, "too few units"),
        ([52_000, 48_000], Level.major, ""),
        ([5_190, 4_810], Level.minor, ""),
        ([0, 0], Level.insufficient, "no units"),
    ):
        verdict = sample_ratio(units, HALF)
        assert (verdict.level, REASON_NAMES[verdict.reason]) == (level, reason), units
    # An alarm is never withdrawn.
    verdict = sample_ratio([50_000, 50_000], HALF, least_before=0.0004)
    assert (verdict.p_value, verdict.level) == (0.0004, Level.major)
    for units, shares in (([1], [1.0]), ([1, 2, 3], HALF), ([1, 2], [1.0, 0.0]), ([1, -2], HALF), ([1, 2], [0.5, 0.6])):
        with pytest.raises(ValueError):
            sample_ratio(units, shares)


SHARES: dict[str, NDArray[np.float64]] = {
    "two": np.array([0.5, 0.5]),
    "two, one rare": np.array([0.98, 0.02]),
    "five": np.array([0.5, 0.3, 0.15, 0.04, 0.01]),
    "ten and never null": np.array([*TEN, 0.0]),
    **{name: ONE_SIDED[name] for name in ("ten", "ten and 0.1 % null", "twenty")},
    **RARE,
}


def test_false_alarms_are_at_most_nominal() -> None:
    for name, p in SHARES.items():
        rng = np.random.default_rng([500, 50_000, len(p)])
        left, right = (rng.multinomial(n, p, size=500).reshape(1, -1) for n in (500, 50_000))
        counts = alarms(psi_differences(left, right, np.arange(500) * len(p)))
        assert all(n <= 500 * at_most(rate, 500) for n, rate in zip(counts, (0.05, 0.001, 0, 0), strict=True)), name


def test_a_pair_by_hand() -> None:
    """Bins are not pooled: the figures follow from plain arithmetic and scipy's χ²."""
    b, c = np.array([400, 300, 200, 100]), np.array([900, 600, 300, 200])
    verdicts = psi_differences(b, c, [0], phi_left=1.5, phi_right=2.0)
    p, q = (b + 0.5) / (1_000 + 2.0), (c + 0.5) / (2_000 + 2.0)
    expected = psi(p, q)
    n_h = 1.0 / (1.5 / 1_000 + 2.0 / 2_000)
    assert verdicts.psi.item() == pytest.approx(expected, rel=1e-12)
    assert verdicts.df.item() == 3
    assert verdicts.p_value.item() == pytest.approx(chi2.sf(n_h * expected, 3), rel=1e-9)
    assert (verdicts.n_left.item(), verdicts.n_right.item()) == (1_000, 2_000)
    assert verdicts.low.item() <= expected <= verdicts.high.item()
    assert verdicts.top_bin.item() == int(np.argmax((q - p) * np.log(q / p)))
    # Noise of sketches caps the sample.
    b, c = np.full(10, 10**6), np.full(10, 10**6) + np.array([20_000, -20_000] * 5)
    sketched = psi_differences(b, c, [0], noise=1.0 / 13_000)
    assert psi_differences(b, c, [0]).p_value.item() < 1e-9 < 0.5 < sketched.p_value.item()
    n_h = 1.0 / (2.0 / 10**7 + 1.0 / 13_000)
    assert sketched.p_value.item() == pytest.approx(chi2.sf(n_h * sketched.psi.item(), 9), rel=1e-9)


def test_rare_bins_are_one_bin() -> None:
    b, c = np.array([5_000, 4_997, 1, 1, 1]), np.array([51, 49, 0, 0, 0])
    verdicts = psi_differences(b, c, [0])
    merged = psi_differences(np.array([5_000, 4_997, 3]), np.array([51, 49, 0]), [0])
    assert verdicts.psi.item() == merged.psi.item()
    assert verdicts.df.item() == merged.df.item() == 1
    # The rest is named by the bin that differs most.
    assert psi_differences(np.array([100_000, 0, 0, 0]), np.array([4, 0, 1, 0]), [0]).top_bin.item() == 2


def test_an_empty_side_leaves_the_difference_unknown() -> None:
    verdicts = psi_differences([[0, 0, 3, 4]], [[5, 5, 0, 0]], [0, 2])
    unknown = {"level": Level.insufficient, "psi": 0.0, "low": 0.0, "high": np.inf, "p_value": 1.0, "top_bin": -1}
    for name, value in unknown.items():
        assert getattr(verdicts, name).tolist() == [[value] * 2], name


def test_reasons_of_insufficient_data_of_two_samples() -> None:
    """With ten bins, two sides of 736 independent events each are enough."""
    for n, phi, completeness, reason in (
        (1_000, 1.0, 1.0, ""),
        (0, 1.0, 1.0, "no events"),
        (300, 1.0, 1.0, "too few events"),
        (300, 4.0, 1.0, "too few events"),
        (1_000, 4.0, 1.0, "correlated events"),
        (600, 1.0, 0.5, "lost events"),
    ):
        counted = np.full(10, n // 10)
        verdicts = psi_differences(counted, counted, [0], phi_left=phi, phi_right=phi, completeness=completeness)
        assert REASON_NAMES[verdicts.reason.item()] == reason
        assert (verdicts.level.item() == Level.insufficient) == bool(reason), reason


counts = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=12)


@settings(max_examples=40)
@given(counts, counts, st.floats(1.0, 100.0), st.floats(1.0, 100.0))
def test_sides_are_symmetric_and_groups_independent(
    first: list[tuple[int, int]], second: list[tuple[int, int]], phi_left: float, phi_right: float
) -> None:
    pairs = np.array(first + second, np.int64).T
    starts = [0, len(first)]
    one = psi_differences(pairs[0], pairs[1], starts, phi_left=phi_left, phi_right=phi_right)
    other = psi_differences(pairs[1], pairs[0], starts, phi_left=phi_right, phi_right=phi_left)
    for name in ("psi", "low", "high", "p_value", "df"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-12)
        assert not np.isnan(getattr(one, name)).any()
    alone = psi_differences(pairs[0, len(first) :], pairs[1, len(first) :], [0], phi_left=phi_left, phi_right=phi_right)
    assert alone.psi[0, 0] == one.psi[0, 1]
    assert alone.top_bin[0, 0] == one.top_bin[0, 1] < len(second)
    assert (one.low <= one.high).all()


def test_invalid_samples_are_rejected() -> None:
    for left, right, starts, phi in (
        ([1, 2], [1, 2, 3], [0], 1.0),
        ([1, 2], [1, -2], [0], 1.0),
        ([1, 2], [1, 2], [1], 1.0),
        ([1, 2], [1, 2], [0], 0.5),
        ([1.0, 2.0], [1.0, 2.0], [0], 1.0),
    ):
        with pytest.raises(ValueError):
            psi_differences(left, right, starts, phi_left=phi)
