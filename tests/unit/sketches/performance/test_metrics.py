import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from barograph.contract.check import PERFORMANCE_METRICS
from scipy.special import expit, softmax
from scipy.stats import t as student_t
from sklearn import metrics as sklearn_metrics

from barograph_server.sketches.drift.rates import newcombe
from barograph_server.sketches.performance.auc import auc_and_variance, auc_metric
from barograph_server.sketches.performance.binary import SCORE_FLOOR, binary_metrics
from barograph_server.sketches.performance.bins import first_positive, score_edges
from barograph_server.sketches.performance.calibration import calibration_error
from barograph_server.sketches.performance.classes import class_metrics
from barograph_server.sketches.performance.metric import MetricEstimate, difference, mean, proportion
from barograph_server.sketches.performance.number import ERROR_QUANTILES, ERROR_RANKS, number_metrics
from tests.support.performance import class_confusion, covered, drawn, error_sums, measured, score_histogram, sums

Metrics = dict[str, MetricEstimate]


def test_golden_auc() -> None:
    golden_labels = [0, 0, 1, 1, 1, 0, 1, 0]
    scores = [0.1, 0.4, 0.35, 0.8, 0.7, 0.2, 0.9, 0.6]
    hist = score_histogram(scores, score_edges(0.5), golden_labels)
    value, variance = auc_and_variance(hist)
    metric = auc_metric(hist)
    assert (value.item(), variance.item()) == pytest.approx((0.875, 0.020833), abs=5e-7)
    assert (metric.low.item(), metric.high.item()) == pytest.approx((0.345117, 0.989360), abs=1e-6)
    assert not metric.enough.item()
    # Perfect order has an interval, too.
    labels = np.repeat([False, True], 30)
    metric = auc_metric(score_histogram(np.where(labels, 0.9, 0.1), score_edges(0.5), labels))
    assert metric.value.item() == metric.high.item() == 1.0
    assert 0.8 < metric.low.item() < 0.95
    assert metric.enough.item()


def test_golden_proportions_and_their_difference() -> None:
    metric = proportion(50, 1000)
    golden = (0.05, 0.038130, 0.065314)
    assert (metric.value.item(), metric.low.item(), metric.high.item()) == pytest.approx(golden, abs=5e-7)
    result = difference(proportion(20, 1000), proportion(0, 100_000))
    newcombes = [part.item() for part in newcombe(20, 1000, 0, 100_000)]
    assert [result.value.item(), result.low.item(), result.high.item()] == pytest.approx(newcombes)
    assert (result.low.item(), result.high.item()) == pytest.approx((0.012984, 0.030690), abs=5e-7)


@pytest.mark.parametrize("threshold", [0.5, 0.13])
def test_against_scikit_learn(threshold: float) -> None:
    scores, labels = drawn(np.random.default_rng(1), (5_000,), -1.0, 1.5)
    scores[:4] = [0.0, 1.0, 1e-9, threshold]
    result = measured(scores, labels, threshold)
    predicted = scores >= threshold
    exact = {"log_loss": sklearn_metrics.log_loss, "brier": sklearn_metrics.brier_score_loss}
    expected_values = {name: score(labels, scores) for name, score in exact.items()}
    for name in ("accuracy", "precision", "recall", "f1"):
        expected_values[name] = getattr(sklearn_metrics, f"{name}_score")(labels, predicted)
    assert set(result) == set(PERFORMANCE_METRICS["binary"])
    for name, expected in expected_values.items():
        assert result[name].value.item() == pytest.approx(expected, abs=1e-9), name
    assert result["auc"].value.item() == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=2e-4)
    for name, metric in result.items():
        assert metric.low.item() <= metric.value.item() <= metric.high.item(), name
        assert metric.enough.item(), name


@pytest.mark.parametrize(
    ("mean_odds", "spread", "limit"),
    [
        (-1.0, 1.5, 1e-4),
        pytest.param(2.0, 1.5, 1e-4, marks=pytest.mark.long),  # two standard deviations of covariate shift
        pytest.param(3.5, 1.5, 2e-4, marks=pytest.mark.long),
        pytest.param(-7.7, 1.6, 2e-4, marks=pytest.mark.long),  # 0.2 % positives
        pytest.param(-2.0, 3.0, 2e-5, marks=pytest.mark.long),
        pytest.param(-1.0, 0.5, 2e-4, marks=pytest.mark.long),
    ],
)
def test_auc_from_bins_errs_little(mean_odds: float, spread: float, limit: float) -> None:
    """A million rows; error of the binned figure itself, as the chance of labels is in both."""
    scores, labels = drawn(np.random.default_rng(8), (1_000_000,), mean_odds, spread)
    if mean_odds < -7.0:
        assert labels.mean() == pytest.approx(0.002, rel=0.3)
    value, _ = auc_and_variance(score_histogram(scores, score_edges(0.3), labels))
    assert value.item() == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=limit)


def test_auc_of_few_distinct_scores_and_its_variance() -> None:
    scores, labels = drawn(np.random.default_rng(9), (200_000,), 0.0, 1.5)
    for leaves in (4, 20):
        ends = np.quantile(scores, np.arange(1, leaves) / leaves)
        rounded = np.quantile(scores, (np.arange(leaves) + 0.5) / leaves)[np.searchsorted(ends, scores)]
        value, _ = auc_and_variance(score_histogram(rounded, score_edges(0.5), labels))
        assert value.item() == pytest.approx(sklearn_metrics.roc_auc_score(labels, rounded), abs=2e-4)
    # DeLong's variance, of scores rounded to bins' own so that ties are the same, by the definition pair by pair.
    rng = np.random.default_rng(10)
    edges = score_edges(0.5)
    scores = edges[rng.integers(60, 130, 300)]
    labels = rng.random(300) < scores
    above = scores[labels][:, None] - scores[~labels][None, :]
    order = (above > 0.0) + 0.5 * (above == 0.0)
    expected = order.mean(axis=1).var(ddof=1) / labels.sum() + order.mean(axis=0).var(ddof=1) / (~labels).sum()
    value, variance = auc_and_variance(score_histogram(scores, edges, labels))
    assert value.item() == pytest.approx(order.mean(), abs=1e-12)
    assert variance.item() == pytest.approx(expected, rel=1e-9)


def test_enough_needs_twenty_of_either_class_and_of_the_denominator() -> None:
    """Without scores a model has metrics of its classes only."""
    confusions = [[20, 0, 0, 20], [19, 1, 0, 100], [10, 0, 10, 100], [100, 0, 100, 19]]
    result = binary_metrics(None, confusions, score_edges(0.5))
    assert result["accuracy"].enough.tolist() == [True, False, True, False]
    assert result["precision"].enough.tolist() == [True, False, False, False]
    assert result["recall"].enough.tolist() == [True, False, True, False]
    assert result["accuracy"].value == pytest.approx([1.0, 119 / 120, 110 / 120, 119 / 219])
    assert np.isnan(result["auc"].value).all()
    assert not result["auc"].enough.any()


def test_first_positive_bin_and_wrong_arguments() -> None:
    edges = score_edges(0.13)
    first = first_positive(edges, 0.13)
    assert np.searchsorted(edges, 0.13, "right") == first
    assert np.searchsorted(edges, np.nextafter(0.13, 0.0), "right") == first - 1
    assert edges.size == score_edges(0.5).size + 1 == 194
    with pytest.raises(ValueError, match="not an edge"):
        first_positive(edges, 0.2)
    with pytest.raises(ValueError, match="finite"):
        score_edges(float("nan"))
    for hist, counts in ((np.zeros((9, 3)), np.zeros(4)), (np.zeros((edges.size + 1, 3)), np.zeros(3))):
        with pytest.raises(ValueError, match=r"the shape \(\.\.\., "):
            binary_metrics(hist, counts, edges)
    with pytest.raises(ValueError, match="φ"):
        binary_metrics(None, np.zeros(4), edges, phi=0.5)


def test_phi_widens_intervals_and_reduces_enough() -> None:
    scores, labels = drawn(np.random.default_rng(6), (100,), 0.0, 1.5)
    one, four = measured(scores, labels), measured(scores, labels, phi=4.0)
    for name, metric in one.items():
        if name != "calibration_error":  # of which φ takes more as chance
            assert metric.value == four[name].value, name
        wider = (four[name].high - four[name].low) / (metric.high - metric.low)
        assert 1.3 < wider < 2.4, name
        assert metric.enough.item(), name
        assert not four[name].enough.item(), name


def test_no_data_gives_no_verdict() -> None:
    edges = score_edges(0.5)
    result = binary_metrics(np.zeros((2, edges.size + 1, 3)), np.zeros((2, 4)), edges)
    for metric in result.values():
        assert metric.value.shape == (2,)
        assert np.isnan([metric.value, metric.low, metric.high]).all()
        assert not metric.enough.any()
    assert np.isnan(mean([1.0, 0.3, 0.09]).low)
    assert mean([1.0, 0.3, 0.09]).value == 0.3


def drawn_classes(rng: np.random.Generator, shape: tuple[int, ...], bias: Sequence[float]) -> tuple[Any, Any, Metrics]:
    """Generate calibrated probabilities of classes, and the true class; measure the most probable one."""
    kinds, edges = len(bias), score_edges(0.5)
    probability = softmax(rng.normal(bias, 1.5, (*shape, kinds)), axis=-1)
    true = (rng.random(shape)[..., None] > probability.cumsum(axis=-1)).sum(axis=-1).clip(0, kinds - 1)
    one_hot = np.eye(kinds)[true]
    came = np.maximum(np.take_along_axis(probability, true[..., None], axis=-1)[..., 0], SCORE_FLOOR)
    metrics = class_metrics(
        class_confusion(true, probability.argmax(axis=-1), kinds),
        score_histogram(np.moveaxis(probability, -1, -2), edges, np.moveaxis(one_hot, -1, -2)),
        edges,
        log_loss_sums=sums(-np.log(came)),
        brier_sums=sums(((probability - one_hot) ** 2).sum(axis=-1)),
    )
    return probability, true, metrics


KINDS = 4


def test_against_scikit_learn_of_classes() -> None:
    probability, true, result = drawn_classes(np.random.default_rng(2), (40_000,), [1.0, 0.0, 0.0, -1.0])
    predicted = probability.argmax(axis=-1)
    assert set(PERFORMANCE_METRICS["classes"]) < set(result)
    assert result["accuracy"].value == pytest.approx(sklearn_metrics.accuracy_score(true, predicted), abs=1e-9)
    for name in ("precision", "recall", "f1"):
        score = getattr(sklearn_metrics, f"{name}_score")
        for average in ("macro", "micro"):
            expected = score(true, predicted, average=average)
            assert result[f"{name}_{average}"].value == pytest.approx(expected, abs=1e-9)
        assert result[name].value == pytest.approx(score(true, predicted, average=None), abs=1e-9)
    assert result["log_loss"].value == pytest.approx(sklearn_metrics.log_loss(true, probability), abs=1e-9)
    brier = sklearn_metrics.brier_score_loss(true, probability, labels=list(range(KINDS)), scale_by_half=False)
    assert result["brier"].value == pytest.approx(brier, abs=1e-9)
    area = sklearn_metrics.roc_auc_score(true, probability, average="macro", multi_class="ovr")
    assert result["auc_macro"].value == pytest.approx(area, abs=2e-4)
    for kind in range(KINDS):
        area = sklearn_metrics.roc_auc_score(true == kind, probability[:, kind])
        assert result["auc"].value[kind] == pytest.approx(area, abs=2e-4)
    for name, metric in result.items():
        assert (metric.low <= metric.value).all(), name
        assert (metric.value <= metric.high).all(), name
        assert metric.enough.all(), name


def test_means_exclude_absent_classes_and_include_classes_never_predicted() -> None:
    """Like scikit-learn, which counts an undefined precision as 0 with a warning."""
    true = np.repeat([0, 1, 2], [50, 40, 30])
    predicted = np.where(true == 2, 1, true)
    result = class_metrics(class_confusion(true, predicted, KINDS), None, score_edges(0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("precision", "recall", "f1"):
            expected = getattr(sklearn_metrics, f"{name}_score")(true, predicted, average="macro")
            assert result[f"{name}_macro"].value == pytest.approx(expected, abs=1e-9)
    assert np.isnan(result["precision"].value).tolist() == [False, False, True, True]
    assert np.isnan(result["recall"].value).tolist() == [False, False, False, True]
    assert result["recall_macro"].enough.item()
    assert np.isnan(result["auc_macro"].value)
    assert np.isnan(result["log_loss"].value)


def test_no_data_gives_no_verdict_and_wrong_shapes_are_rejected() -> None:
    edges = score_edges(0.5)
    nothing, none = np.zeros((3, KINDS, KINDS)), np.zeros((3, 3))
    hist = np.zeros((3, KINDS, edges.size + 1, 3))
    result = class_metrics(nothing, hist, edges, log_loss_sums=none, brier_sums=none)
    for name, metric in result.items():
        assert metric.value.shape == ((3, KINDS) if name in ("precision", "recall", "f1", "auc") else (3,)), name
    quantiles = np.full((3, ERROR_RANKS.size), np.nan)
    for name, metric in (result | number_metrics(np.zeros((3, 5)), quantiles)).items():
        assert np.isnan([metric.value, metric.low, metric.high]).all(), name
        assert not metric.enough.any(), name
    with pytest.raises(ValueError, match="histograms must be of"):
        class_metrics(np.zeros((3, 3)), np.zeros((4, edges.size + 1, 3)), edges)
    with pytest.raises(ValueError, match=r"must have the shape \(\.\.\., K, K\), not \(3, 4\)"):
        class_metrics(np.zeros((3, 4)), None, edges)
    with pytest.raises(ValueError, match="sums of errors"):
        number_metrics(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="rank error"):
        number_metrics(np.zeros(5), np.zeros(ERROR_RANKS.size), rank_error=2.0)


def test_numbers_against_scikit_learn_and_scipy() -> None:
    rng = np.random.default_rng(4)
    label = rng.normal(10.0, 3.0, 5_000)
    prediction = label + rng.normal(0.2, 1.0, 5_000)
    errors = prediction - label
    quantiles = np.quantile(np.abs(errors), ERROR_RANKS, method="inverted_cdf")
    result = number_metrics(error_sums(errors), quantiles)
    assert set(PERFORMANCE_METRICS["number"]) | set(ERROR_QUANTILES) == set(result)
    assert result["mae"].value == pytest.approx(sklearn_metrics.mean_absolute_error(label, prediction), abs=1e-9)
    assert result["rmse"].value == pytest.approx(sklearn_metrics.root_mean_squared_error(label, prediction), abs=1e-9)
    assert result["bias"].value == pytest.approx(errors.mean(), abs=1e-9)
    spread = errors.std(ddof=1) / np.sqrt(errors.size)
    interval = student_t.interval(0.95, errors.size - 1, errors.mean(), spread)
    assert (result["bias"].low, result["bias"].high) == pytest.approx(interval, abs=1e-9)
    ordered = np.sort(np.abs(errors))
    for name, rank in ERROR_QUANTILES.items():
        reach = 1.96 * np.sqrt(rank * (1 - rank) * 5_000)
        assert result[name].value == pytest.approx(ordered[round(rank * 5_000) - 1], abs=1e-3)
        for end, position in ((result[name].low, rank * 5_000 - reach), (result[name].high, rank * 5_000 + reach)):
            assert end == pytest.approx(ordered[round(position)], abs=0.02)
        assert result[name].enough
    # The rank error of a sketch widens quantiles.
    quantiles = np.linspace(0.0, 2.0, ERROR_RANKS.size)
    totals = error_sums(np.linspace(-1.0, 1.0, 2_000))
    exact, rough = (number_metrics(totals, quantiles, rank_error=error)["error_p90"] for error in (0.0, 0.02))
    assert rough.low < exact.low < exact.value == rough.value < exact.high < rough.high


REPETITIONS, LEAST = 200, 0.90
"""Windows, as one array, and the least share of 95 % intervals that cover the truth: it is seen within ±0.03."""


@pytest.mark.long
@pytest.mark.parametrize(("rows", "mean_odds", "spread"), [(60, 0.0, 1.5), (400, -2.0, 1.5), (2_000, -4.0, 2.0)])
def test_intervals_of_binary_models_cover_the_truth(rows: int, mean_odds: float, spread: float) -> None:
    rng = np.random.default_rng(rows)
    shapes = ((2_000_000,), (REPETITIONS, rows))
    many, few = (measured(*drawn(rng, shape, mean_odds, spread), 0.4) for shape in shapes)
    for name, metric in few.items():
        truth = 0.0 if name == "calibration_error" else many[name].value  # scores are drawn calibrated
        if metric.enough.mean() > 0.85:
            assert covered(metric, truth) >= LEAST, name
    assert few["auc"].enough.mean() > 0.85


@pytest.mark.long
@pytest.mark.parametrize("rows", [500, 20_000])
def test_intervals_of_the_calibration_error_of_scores_that_are_off_cover_the_truth(rows: int) -> None:
    """Log-odds that are twice too large; the truth is the mean error of the same ten groups of many rows."""
    edges = score_edges(0.5)
    rng = np.random.default_rng(rows)
    many, few = (
        calibration_error(score_histogram(scores, edges, labels))
        for scores, labels in (
            drawn(rng, shape, -1.0, 2.0, lambda odds: odds / 2.0) for shape in ((1_000_000,), (REPETITIONS, rows))
        )
    )
    odds = rng.normal(-1.0, 2.0, 1_000_000)
    assert many.value.item() == pytest.approx(np.abs(expit(odds / 2.0) - expit(odds)).mean(), abs=0.002)
    assert covered(few, many.value) >= LEAST
    assert few.value.mean() == pytest.approx(many.value.item(), abs=0.005)


@pytest.mark.long
@pytest.mark.parametrize(("rows", "bias"), [(200, [0.0, 0.0, 0.5]), (1_500, [2.0, 0.0, 0.0, -1.0])])
def test_intervals_of_classes_cover_the_truth(rows: int, bias: list[float]) -> None:
    rng = np.random.default_rng(rows)
    many, few = (drawn_classes(rng, shape, bias)[2] for shape in ((1, 1_500_000), (REPETITIONS, rows)))
    for name, metric in few.items():
        truth = 0.0 if name == "calibration_error" else many[name].value[0]
        assert (covered(metric, truth) >= LEAST).all(), name


@pytest.mark.long
@pytest.mark.parametrize("rows", [50, 1_000])
def test_intervals_of_numbers_cover_the_truth(rows: int) -> None:
    rng = np.random.default_rng(rows)
    metrics, truth = (
        number_metrics(
            error_sums(errors),
            np.moveaxis(np.quantile(np.abs(errors), ERROR_RANKS, axis=-1, method="inverted_cdf"), 0, -1),
        )
        for errors in (rng.normal(0.3, 1.0, shape) for shape in ((REPETITIONS, rows), (1_000_000,)))
    )
    for name, metric in metrics.items():
        if name == "error_p99" and rows < 381:
            assert not metric.enough.any()
            assert np.isnan(metric.high).all()
        else:
            assert covered(metric, truth[name].value) >= LEAST, name
