"""Metrics of models with more than two classes, and of numbers, against scikit-learn and numpy on raw data."""

import warnings

import numpy as np
import pytest
from barograph.contract.check import PERFORMANCE_METRICS
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import t as student_t
from sklearn import metrics as sklearn_metrics

from barograph_server.sketches.performance.binary import SCORE_FLOOR
from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.performance.classes import class_metrics
from barograph_server.sketches.performance.metric import MetricEstimate
from barograph_server.sketches.performance.number import ERROR_QUANTILES, ERROR_RANKS, number_metrics
from tests.support.performance import class_confusion, error_sums, score_histogram, sums

FloatArray = NDArray[np.float64]
KINDS = 4


def raw(rows: int = 40_000) -> tuple[FloatArray, NDArray[np.int64]]:
    rng = np.random.default_rng(2)
    probability = softmax(rng.normal([1.0, 0.0, 0.0, -1.0], 1.5, (rows, KINDS)), axis=-1)
    true = (rng.random(rows)[:, None] > probability.cumsum(axis=-1)).sum(axis=-1).clip(0, KINDS - 1)
    return probability, true


def measured(probability: FloatArray, true: NDArray[np.int64]) -> dict[str, MetricEstimate]:
    edges = score_edges(0.5)
    one_hot = np.eye(KINDS)[true]
    came = np.maximum(np.take_along_axis(probability, true[:, None], axis=-1)[:, 0], SCORE_FLOOR)
    return class_metrics(
        class_confusion(true, probability.argmax(axis=-1), KINDS),
        score_histogram(probability.T, edges, one_hot.T),
        edges,
        log_loss_sums=sums(-np.log(came)),
        brier_sums=sums(((probability - one_hot) ** 2).sum(axis=-1)),
    )


def test_against_scikit_learn() -> None:
    probability, true = raw()
    predicted = probability.argmax(axis=-1)
    result = measured(probability, true)
    assert set(PERFORMANCE_METRICS["classes"]) < set(result)
    scores = {
        "precision": sklearn_metrics.precision_score,
        "recall": sklearn_metrics.recall_score,
        "f1": sklearn_metrics.f1_score,
    }
    assert result["accuracy"].value == pytest.approx(sklearn_metrics.accuracy_score(true, predicted), abs=1e-9)
    for name, score in scores.items():
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
    counts = class_confusion(true, predicted, KINDS)
    result = class_metrics(counts, None, score_edges(0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, score in (
            ("precision_macro", sklearn_metrics.precision_score),
            ("recall_macro", sklearn_metrics.recall_score),
            ("f1_macro", sklearn_metrics.f1_score),
        ):
            assert result[name].value == pytest.approx(score(true, predicted, average="macro"), abs=1e-9)
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
