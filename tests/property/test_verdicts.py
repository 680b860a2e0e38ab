from dataclasses import fields

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.drift.psi import PsiVerdicts, psi_verdicts
from barograph_server.sketches.drift.rates import rate_verdicts
from barograph_server.sketches.performance.binary import binary_metrics
from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.performance.calibration_map import learn_calibration
from barograph_server.sketches.performance.cbpe import cbpe_metrics
from barograph_server.sketches.performance.classes import class_metrics
from barograph_server.sketches.performance.loss import learn_loss, loss_metrics
from barograph_server.sketches.performance.metric import MetricEstimate
from barograph_server.sketches.performance.number import ERROR_RANKS, number_metrics
from barograph_server.sketches.performance.selective import corrected_metrics, selective
from barograph_server.sketches.rollout.day_evidence import day_evidence
from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.decision import Criterion, CriterionDays, decide
from barograph_server.sketches.rollout.missing_pairs import MissingPairs, bounded_sums
from tests.support.performance import confusion, error_sums, score_histogram

IntArray = NDArray[np.int64]
Case = tuple[IntArray, IntArray, IntArray, NDArray[np.float64]]
COUNT = st.one_of(st.just(0), st.integers(0, 20), st.integers(0, 10**7))
NAMES = [field.name for field in fields(PsiVerdicts)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    sizes = draw(st.lists(st.integers(1, 14), min_size=1, max_size=6))
    width = sum(sizes)
    counts = st.lists(COUNT, min_size=width, max_size=width)
    base = np.array(draw(counts), np.int64)
    window = np.array(draw(st.lists(counts, min_size=1, max_size=5)), np.int64)
    phi = np.array(draw(st.lists(st.floats(1.0, 500.0), min_size=len(sizes), max_size=len(sizes))))
    return base, window, np.cumsum([0, *sizes[:-1]]), phi


@settings(max_examples=40)
@given(cases())
def test_nothing_is_nan_and_all_is_in_range(case: Case) -> None:
    base, window, starts, phi = case
    verdicts = psi_verdicts(base, window, starts, phi=phi)
    for name in NAMES:
        assert not np.isnan(getattr(verdicts, name).astype(float)).any(), name
    sizes = np.diff([*starts, len(base)])
    assert (verdicts.psi >= 0.0).all()
    assert np.isfinite(verdicts.psi).all()
    assert (verdicts.low >= 0.0).all()
    assert (verdicts.low <= verdicts.high).all()
    assert ((verdicts.p_value >= 0.0) & (verdicts.p_value <= 1.0)).all()
    assert ((verdicts.df >= 1) & (verdicts.df <= np.maximum(1, sizes - 1))).all()
    assert (verdicts.visible_shift > 0.0).all()
    known = (verdicts.n > 0) & (np.add.reduceat(base, starts) > 0)
    assert np.array_equal(verdicts.top_bin >= 0, known)
    assert (verdicts.top_bin < sizes).all()
    assert np.array_equal(verdicts.level == Level.insufficient, ~verdicts.enough & (verdicts.level != Level.major))


@settings(max_examples=40)
@given(cases())
def test_a_window_or_a_group_alone_gets_the_same_bits(case: Case) -> None:
    base, window, starts, phi = case
    together = psi_verdicts(base, window, starts, phi=phi)
    for w in range(len(window)):
        alone = psi_verdicts(base, window[w : w + 1], starts, phi=phi)
        for name in NAMES:
            assert np.array_equal(getattr(together, name)[w], getattr(alone, name)[0]), name
    for g, (start, end) in enumerate(zip(starts, [*starts[1:], len(base)], strict=True)):
        alone = psi_verdicts(base[start:end], window[:, start:end], [0], phi=phi[g])
        for name in NAMES:
            assert np.array_equal(getattr(together, name)[:, g], getattr(alone, name)[:, 0]), name


def test_a_large_batch_gets_the_same_bits() -> None:
    """More cells than are worked on at a time, in any memory order."""
    rng = np.random.default_rng(70)
    base, starts = rng.integers(0, 10_000, 5_000), np.arange(0, 5_000, 8)
    window = rng.integers(0, 50, (40, 5_000))
    together = psi_verdicts(base, window, starts)
    by_column = psi_verdicts(base, np.asfortranarray(window), starts)
    for w in (0, 5, 6, 39):
        alone = psi_verdicts(base, window[w], starts)
        for name in NAMES:
            assert np.array_equal(getattr(together, name)[w], getattr(alone, name)[0]), name
            assert np.array_equal(getattr(together, name)[w], getattr(by_column, name)[w]), name


@settings(max_examples=40)
@given(cases(), st.floats(1.0, 20.0))
def test_more_overdispersion_never_makes_a_verdict_surer(case: Case, factor: float) -> None:
    base, window, starts, phi = case
    one, other = psi_verdicts(base, window, starts, phi=phi), psi_verdicts(base, window, starts, phi=phi * factor)
    assert np.array_equal(one.psi, other.psi)
    assert (other.p_value >= one.p_value).all()
    assert (other.enough <= one.enough).all()
    assert (other.low <= one.low + 1e-7 * (1.0 + one.low)).all()
    surer = (other.level == Level.major) & (one.level != Level.major)
    assert not surer.any()


@given(
    st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)),
    st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)),
    st.floats(1.0, 100.0),
)
def test_rate_verdicts_of_any_counts(window: tuple[int, int], base: tuple[int, int], phi: float) -> None:
    (k, n), (base_k, base_n) = sorted(window), sorted(base)
    verdict = rate_verdicts(k, n, base_k, base_n, phi=phi)
    assert -1.0 <= verdict.low.item() <= verdict.delta.item() <= verdict.high.item() <= 1.0
    assert 0.0 <= verdict.p_value.item() <= 1.0
    if n == 0 or base_n == 0:
        assert verdict.level.item() == Level.insufficient
    if verdict.level.item() in (Level.minor, Level.major):
        assert verdict.low.item() > 0.0
        assert verdict.delta.item() > 0.01


FloatArray = NDArray[np.float64]
EDGES = score_edges(0.5)
UNHURRIED = settings(deadline=None, max_examples=25)
ROWS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 1e-9, 0.5, 1.0]), st.floats(0.0, 1.0), st.floats(-5.0, 5.0)),
        st.booleans(),
        st.integers(1, 5_000),
    ),
    max_size=25,
)
"""Score, label, and how many rows are like it."""
PHI = st.sampled_from([1.0, 1.5, 40.0])


def raw(rows: list[tuple[float, bool, int]]) -> tuple[FloatArray, NDArray[np.bool_]]:
    many = np.array([count for _, _, count in rows], np.int64)
    scores = np.repeat(np.array([score for score, _, _ in rows], np.float64), many)
    return scores, np.repeat(np.array([label for _, label, _ in rows], np.bool_), many)


def holds(
    metrics: dict[str, MetricEstimate], limits: tuple[float, float] = (0.0, 1.0), *, has_interval: bool = True
) -> None:
    """Values lie in their intervals, and undefined values are never sufficient."""
    for name, metric in metrics.items():
        known = ~np.isnan(metric.value)
        assert not (metric.enough & ~known).any(), name
        assert not np.isinf([metric.value, metric.low, metric.high]).any(), name
        slack = 1e-12 * np.maximum(1.0, np.abs(metric.value[known]))
        low, value, high = metric.low[known], metric.value[known], metric.high[known]
        assert (np.isnan(low) | (low <= value + slack)).all(), name
        assert (np.isnan(high) | (value <= high + slack)).all(), name
        assert (np.isnan(low[metric.enough[known]]) != has_interval).all(), name
        if name not in ("log_loss", "brier", "calibration_error"):
            assert ((value >= limits[0] - slack) & (value <= limits[1] + slack)).all(), name


@UNHURRIED
@given(ROWS, PHI)
def test_binary_metrics_are_in_range(rows: list[tuple[float, bool, int]], phi: float) -> None:
    scores, labels = raw(rows)
    hist = score_histogram(scores, EDGES, labels)
    holds(binary_metrics(hist, confusion(labels, scores >= 0.5), EDGES, phi=phi))


@UNHURRIED
@given(
    st.integers(2, 5).flatmap(lambda k: st.lists(st.integers(0, 400), min_size=k * k, max_size=k * k)),
    st.lists(st.floats(-1e6, 1e6), max_size=60),
    PHI,
)
def test_metrics_of_classes_and_numbers_are_in_range(cells: list[int], errors: list[float], phi: float) -> None:
    kinds = round(len(cells) ** 0.5)
    counts = np.array(cells, np.float64).reshape(kinds, kinds)
    probability = np.random.default_rng(sum(cells)).dirichlet(np.ones(kinds), size=int(counts.sum()))
    true = np.repeat(np.arange(kinds), counts.sum(axis=1).astype(np.int64))
    hist = score_histogram(probability.T, EDGES, (true == np.arange(kinds)[:, None]))
    holds(class_metrics(counts, hist, EDGES, phi=phi))
    values = np.array(errors, np.float64)
    quantiles = np.quantile(np.abs(values), ERROR_RANKS) if values.size else np.full(ERROR_RANKS.size, np.nan)
    holds(number_metrics(error_sums(values), quantiles, phi=phi), (-1e7, 1e7))


@UNHURRIED
@given(st.lists(ROWS, min_size=2, max_size=4), PHI)
def test_windows_do_not_touch_one_another(windows: list[list[tuple[float, bool, int]]], phi: float) -> None:
    each = [raw(rows) for rows in windows]
    hist = np.stack([score_histogram(scores, EDGES, labels) for scores, labels in each])
    counts = np.stack([confusion(labels, scores >= 0.5) for scores, labels in each])
    together = binary_metrics(hist, counts, EDGES, phi=phi)
    for window in range(len(windows)):
        alone = binary_metrics(hist[window], counts[window], EDGES, phi=phi)
        for name, metric in together.items():
            for part in ("value", "low", "high", "enough"):
                np.testing.assert_array_equal(getattr(metric, part)[window], getattr(alone[name], part), name)


@settings(UNHURRIED, max_examples=20)
@given(ROWS, ROWS, PHI)
def test_estimates_and_corrections_are_in_range(
    reference: list[tuple[float, bool, int]], rows: list[tuple[float, bool, int]], phi: float
) -> None:
    base = score_histogram(raw(reference)[0], EDGES, raw(reference)[1])
    base[100, :] += [60.0, 30.0, 30.0]
    calibration = learn_calibration(base, EDGES)
    assert ((calibration.rate >= 0.0) & (calibration.rate <= 1.0)).all()
    scores, labels = raw(rows)
    everything = score_histogram(scores, EDGES)
    labelled_rows = score_histogram(scores[::3], EDGES, labels[::3])
    holds(cbpe_metrics(everything, calibration, 0.5, phi=phi))
    holds(corrected_metrics(labelled_rows, everything, calibration, 0.5, phi=phi))
    estimates = selective(labelled_rows, everything, EDGES, phi=phi)
    assert (estimates.p_value >= 0.0) & (estimates.p_value <= 1.0)
    assert estimates.spread >= 0.0


@UNHURRIED
@given(
    st.lists(st.tuples(st.integers(-5, 5), st.floats(0.0, 1e6)), min_size=20, max_size=80),
    st.lists(st.integers(0, 300), min_size=13, max_size=13),
    PHI,
)
def test_estimated_errors_are_in_range(labelled: list[tuple[int, float]], counts: list[int], phi: float) -> None:
    bins = np.arange(-6, 7)
    sums = np.zeros((bins.size, 3))
    for number, size in labelled:
        sums[number + 6] += (1.0, size, size**2)
    holds(loss_metrics(bins, counts, learn_loss(bins, sums), phi=phi), (0.0, 1e8), has_interval=False)


SIZES = st.integers(30, 90)
SEEDS = st.integers(0, 2**32 - 1)


def days(size: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Sums of days of 60 to 3,000 pairs whose scale, mean, skew and correlation are random."""
    rng = np.random.default_rng(seed)
    pairs = rng.integers(60, 3_000, size).astype(np.float64)
    noise = rng.standard_normal(size) if rng.random() < 0.5 else rng.exponential(1.0, size) - 1.0
    noise = np.repeat(noise, rng.integers(1, 4))[:size]
    rate = rng.normal(0.0, 0.02) + 10.0 ** rng.uniform(-4.0, -1.0) * noise
    return np.rint(np.clip(rate, -1.0, 1.0) * pairs), pairs


@UNHURRIED
@given(SIZES, SEEDS)
def test_swapping_the_sides_mirrors_days(size: int, seed: int) -> None:
    sums, pairs = days(size, seed)
    here, there = day_interval(sums, pairs), day_interval(-sums, pairs)
    assert (float(there.low), float(there.high)) == (-float(here.high), -float(here.low))
    # A smaller error rate contains the interval.
    wide = day_interval(sums, pairs, 0.01)
    assert float(wide.low) <= float(here.low) <= float(here.high) <= float(wide.high)
    assert float(here.kappa) >= 1.0
    evidence, mirrored = day_evidence(sums, pairs), day_evidence(-sums, pairs)
    np.testing.assert_allclose(evidence.different, mirrored.different, rtol=0, atol=1e-12)
    np.testing.assert_allclose(evidence.better, mirrored.worse, rtol=0, atol=1e-12)
    # Two-sided evidence is the mean of both sides.
    both = np.logaddexp(evidence.better, evidence.worse) - np.log(2.0)
    np.testing.assert_allclose(evidence.different, both, rtol=0, atol=1e-9)


@UNHURRIED
@given(SIZES, SEEDS)
def test_a_day_of_either_sign_leaves_the_evidence_on_average_at_most_as_it_was(size: int, seed: int) -> None:
    """The supermartingale, for the symmetric increments that it assumes."""
    sums, pairs = days(size, seed)
    before = day_evidence(sums[:-1], pairs[:-1], kappa=1.0)
    ends = [day_evidence(np.append(sums[:-1], sign * sums[-1]), pairs, kappa=1.0) for sign in (-1.0, 1.0)]
    for name in ("different", "better", "worse"):
        after = np.logaddexp(*(getattr(end, name)[-1] for end in ends)) - np.log(2.0)
        assert after <= getattr(before, name)[-1] + 1e-9


@UNHURRIED
@given(SIZES, SEEDS, st.floats(-0.2, 0.2))
def test_intervals_move_with_a_constant_gain(size: int, seed: int, gain: float) -> None:
    sums, pairs = days(size, seed)
    before, after = day_interval(sums, pairs), day_interval(sums + gain * pairs, pairs)
    assume(bool(before.enough))
    np.testing.assert_allclose((after.low, after.high), (before.low + gain, before.high + gain), rtol=0, atol=1e-9)
    assert float(after.kappa) == pytest.approx(float(before.kappa), abs=1e-6)


@UNHURRIED
@example(size=30, seed=100866, share=5.65908108469393e-05)
@given(SIZES, SEEDS, st.floats(0.0, 0.3))
def test_missing_answers_never_help(size: int, seed: int, share: float) -> None:
    sums, pairs = days(size, seed)
    rng = np.random.default_rng(seed)
    candidate, primary = rng.binomial(pairs.astype(int), share, (2, size))
    missing = MissingPairs(candidate, rng.binomial(candidate, 0.7), primary, rng.binomial(primary, 0.7))
    bounds = bounded_sums(sums, pairs, missing)
    assert (bounds.low <= sums).all()
    assert (bounds.high >= sums).all()
    complete = CriterionDays(Criterion("accuracy", 0.02), sums, pairs)
    verdict = decide([CriterionDays(complete.criterion, sums, pairs, missing)]).criteria[0]
    assert verdict.is_met <= decide([complete]).criteria[0].is_met
    # A pair that the primary answers with 0 can draw a mean below 0 nearer to 0.
    assert verdict.least_value <= verdict.value * pairs.sum() / bounds.pairs.sum() + 1e-12
    swapped = MissingPairs(missing.primary, missing.candidate_quality, missing.candidate, missing.primary_quality)
    mirrored = bounded_sums(-sums, pairs, swapped)
    np.testing.assert_array_equal(mirrored.low, -bounds.high)
