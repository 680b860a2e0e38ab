from functools import cache

import numpy as np
import pytest
from scipy.special import expit, logit

from barograph_server.sketches.performance.bins import first_positive, mean_scores, score_edges
from barograph_server.sketches.performance.calibration_map import CalibrationMap, learn_calibration
from barograph_server.sketches.performance.cbpe import cbpe_metrics, realised_error
from barograph_server.sketches.performance.metric import MetricEstimate
from tests.support.performance import drawn, measured, score_histogram

THRESHOLD = 0.4
EDGES = score_edges(THRESHOLD)
MEAN, SPREAD = -1.0, 1.5
"""Log-odds of the reference's scores."""
ESTIMATED = ("accuracy", "precision", "recall", "f1", "auc")
GOLDEN_SHIFTED: dict[float, tuple[float, float]] = {
    -2.0: (0.9546736204993344, 0.8274147835879112),
    0.0: (0.7564975170943847, 0.814162044600006),
    3.0: (0.9361234748729863, 0.8298224317906169),
}
"""Estimated accuracy and AUC, by the shift in standard deviations."""


@cache
def learned(seed: int, rows: int = 100_000) -> CalibrationMap:
    scores, labels = drawn(np.random.default_rng(seed), (rows,), MEAN, SPREAD)
    return learn_calibration(score_histogram(scores, EDGES, labels), EDGES)


@pytest.mark.parametrize("shift", GOLDEN_SHIFTED)
def test_golden_estimates_under_covariate_shift(shift: float) -> None:
    scores, _ = drawn(np.random.default_rng(8), (20_000,), MEAN + shift * SPREAD, SPREAD)
    estimated = cbpe_metrics(score_histogram(scores, EDGES), learned(7, 20_000), THRESHOLD)
    assert tuple(estimated) == ESTIMATED
    values = tuple(float(estimated[name].value) for name in ("accuracy", "auc"))
    assert values == pytest.approx(GOLDEN_SHIFTED[shift], abs=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("shift", [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
def test_estimates_under_covariate_shift_are_those_of_labels(shift: float) -> None:
    """Ten references of 100,000 rows, and traffic of so many rows that chance is a tenth of what is allowed."""
    scores, labels = drawn(np.random.default_rng(8), (3_000_000,), MEAN + shift * SPREAD, SPREAD)
    hist, realised = score_histogram(scores, EDGES), measured(scores, labels, THRESHOLD)
    estimates = [cbpe_metrics(hist, learned(seed), THRESHOLD) for seed in range(10)]
    for name in ("accuracy", "auc"):
        off = np.array([float(estimated[name].value - realised[name].value) for estimated in estimates])
        assert np.sqrt(np.mean(off**2)) < 0.003, name
        assert np.mean(np.abs(off) < 0.005) >= 0.9, name


def test_accuracy_and_its_interval_are_the_formulas() -> None:
    rng = np.random.default_rng(1)
    rate = expit(np.sort(rng.normal(0.0, 2.0, EDGES.size + 1)))
    counts = rng.integers(0, 50, EDGES.size + 1)
    hist = np.stack((counts, counts * 0.5), axis=-1)
    each = np.repeat(rate, counts)
    predicted = np.repeat(np.arange(EDGES.size + 1) >= first_positive(EDGES, THRESHOLD), counts)
    estimates = cbpe_metrics(hist, CalibrationMap(EDGES, rate, np.zeros((rate.size,) * 2)), THRESHOLD)
    tp, fp = each[predicted].sum(), (1.0 - each[predicted]).sum()
    fn, tn = each[~predicted].sum(), (1.0 - each[~predicted]).sum()
    half = 1.959964 * np.sqrt((each * (1.0 - each)).sum()) / each.size
    assert estimates["accuracy"].value == pytest.approx((tp + tn) / each.size)
    assert estimates["accuracy"].high - estimates["accuracy"].value == pytest.approx(half, rel=1e-6)
    assert estimates["precision"].value == pytest.approx(tp / (tp + fp))
    assert estimates["recall"].value == pytest.approx(tp / (tp + fn))
    assert estimates["f1"].value == pytest.approx(2.0 * tp / (2.0 * tp + fp + fn))


@pytest.mark.parametrize(("references", "rows"), [(2, 5_000), pytest.param(30, 20_000, marks=pytest.mark.long)])
def test_intervals_cover_the_values_from_labels(references: int, rows: int) -> None:
    """Those of 20 windows of 1,000 and a shift."""
    rng = np.random.default_rng(2)
    inside = dict.fromkeys(ESTIMATED, 0)
    for seed in range(references):
        calibration = learned(100 + seed, rows)
        scores, labels = drawn(rng, (20, 1_000), MEAN + 1.0, SPREAD)
        estimated = cbpe_metrics(score_histogram(scores, EDGES), calibration, THRESHOLD)
        realised = measured(scores, labels, THRESHOLD)
        for name, metric in estimated.items():
            truth = realised[name].value
            inside[name] += int(((metric.low <= truth) & (truth <= metric.high)).sum())
    assert min(inside.values()) / (references * 20) >= 0.91, inside


def errors(drift: float) -> dict[str, MetricEstimate]:
    """Realised errors of 12 windows of 3,000 while the concept moves by so many log-odds."""
    scores, labels = drawn(np.random.default_rng(3), (12, 3_000), MEAN, SPREAD, lambda odds: odds + drift)
    estimated = cbpe_metrics(score_histogram(scores, EDGES), learned(7), THRESHOLD)
    realised = measured(scores, labels, THRESHOLD)
    return {name: realised_error(estimated[name], realised[name]) for name in ESTIMATED}


def test_concept_drift_shows_only_after_labels_arrive() -> None:
    for name, error in errors(0.0).items():
        assert abs(error.value.mean()) < 0.02, name
    drifted = errors(-1.5)
    for name in ("accuracy", "precision", "f1"):
        error = drifted[name]
        assert ((np.abs(error.value) > 0.02) & ((error.low > 0) | (error.high < 0))).mean() > 0.8, name
    assert np.abs(drifted["precision"].value).min() > 0.15


@pytest.mark.parametrize("bend", ["kink", "wave", "lumps"])
def test_a_score_that_is_no_probability_is_learned(bend: str) -> None:
    concepts = {
        "kink": lambda odds: np.where(odds > -1.0, odds, 0.3 * odds - 0.7),
        "wave": lambda odds: odds + 0.6 * np.sin(2.0 * odds),
        "lumps": lambda odds: odds + 3.0 * (np.floor(8.0 * odds) % 2.0),  # as of trees, whose leaves rank badly
    }
    rng = np.random.default_rng(4)
    scores, labels = drawn(rng, (100_000,), MEAN, SPREAD, concepts[bend])
    calibration = learn_calibration(score_histogram(scores, EDGES, labels), EDGES)
    middle = logit(mean_scores(np.zeros(EDGES.size + 1), np.zeros(EDGES.size + 1), EDGES))
    observed = np.abs(middle - MEAN) < 2.0 * SPREAD
    assert np.abs(calibration.rate - expit(concepts[bend](middle)))[observed].max() < 0.07
    truth = measured(scores, labels, THRESHOLD)
    for name, metric in cbpe_metrics(score_histogram(scores, EDGES), calibration, THRESHOLD).items():
        assert metric.low <= truth[name].value <= metric.high, f"{name} of the reference itself"
    scores, labels = drawn(rng, (200_000,), MEAN + SPREAD, SPREAD, concepts[bend])
    estimated = cbpe_metrics(score_histogram(scores, EDGES), calibration, THRESHOLD)
    realised = measured(scores, labels, THRESHOLD)
    for name in ("accuracy", "auc"):
        assert estimated[name].value == pytest.approx(realised[name].value, abs=0.01), name


def test_invalid_arguments_are_rejected_and_few_rows_are_not_enough() -> None:
    scores, labels = drawn(np.random.default_rng(5), (100,), MEAN, SPREAD)
    with pytest.raises(ValueError, match="at least 20 labelled rows"):
        learn_calibration(score_histogram(scores, EDGES, labels & (np.cumsum(labels) < 10)), EDGES)
    calibration = learned(7, 1_000)
    with pytest.raises(ValueError, match="not an edge"):
        cbpe_metrics(score_histogram(scores, EDGES), calibration, 0.77)
    nothing = cbpe_metrics(np.zeros((2, EDGES.size + 1, 2)), calibration, THRESHOLD)
    for metric in nothing.values():
        assert np.isnan(metric.value).all()
        assert not metric.enough.any()


def test_calibration_of_very_few_scores() -> None:
    """One score alone, and classes that are told apart without fault."""
    for scores, labels in (([0.3] * 60, [0, 1, 1] * 20), ([0.1, 0.9] * 40, [0, 1] * 40)):
        calibration = learn_calibration(score_histogram(scores, EDGES, labels), EDGES)
        assert np.isfinite(calibration.rate).all()
        assert np.isfinite(calibration.covariance).all()
        if len(set(scores)) == 1:
            assert calibration.rate[np.searchsorted(EDGES, 0.3, "right")] == pytest.approx(2.0 / 3.0, abs=0.02)
