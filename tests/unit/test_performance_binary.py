"""Metrics of models with two classes, against scikit-learn on raw data, and golden values."""

from __future__ import annotations

import numpy as np
import pytest
from barograph.contract_check import METRICS
from numpy.typing import NDArray
from scipy.special import expit
from sklearn import metrics as sklearn_metrics

from sketches.performance.auc import auc_and_variance, auc_metric
from sketches.performance.binary import SCORE_FLOOR, binary_metrics
from sketches.performance.bins import first_positive, score_edges, score_histogram
from sketches.performance.metric import Metric, difference, mean, proportion
from sketches.rates import newcombe

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

GOLDEN_SCORES = [0.1, 0.4, 0.35, 0.8, 0.7, 0.2, 0.9, 0.6]
GOLDEN_LABELS = [0, 0, 1, 1, 1, 0, 1, 0]


def drawn(seed: int, shape: tuple[int, ...], mean_odds: float, spread: float) -> tuple[FloatArray, BoolArray]:
    """Calibrated scores, and labels."""
    rng = np.random.default_rng(seed)
    scores = expit(rng.normal(mean_odds, spread, shape))
    return scores, rng.random(shape) < scores


def confusion(labels: BoolArray, predicted: BoolArray) -> FloatArray:
    cells = (labels & predicted, ~labels & predicted, labels & ~predicted, ~labels & ~predicted)
    return np.stack([cell.sum(axis=-1) for cell in cells], axis=-1).astype(np.float64)


def sums(values: FloatArray) -> FloatArray:
    return np.stack([np.full(values.shape[:-1], values.shape[-1]), values.sum(axis=-1), (values**2).sum(axis=-1)], -1)


def measured(scores: FloatArray, labels: BoolArray, threshold: float = 0.5, **options: float) -> dict[str, Metric]:
    edges = score_edges(threshold)
    came = np.maximum(np.where(labels, scores, 1.0 - scores), SCORE_FLOOR)
    return binary_metrics(
        score_histogram(scores, edges, labels),
        confusion(labels, scores >= threshold),
        edges,
        log_loss_sums=sums(-np.log(came)),
        brier_sums=sums((scores - labels) ** 2),
        **options,
    )


def covered(metric: Metric, truth: float) -> float:
    sure = metric.enough
    assert sure.mean() > 0.9
    return float(((metric.low <= truth) & (truth <= metric.high))[sure].mean())


def test_golden_auc() -> None:
    hist = score_histogram(GOLDEN_SCORES, score_edges(0.5), GOLDEN_LABELS)
    value, variance = auc_and_variance(hist)
    metric = auc_metric(hist)
    assert (value.item(), variance.item()) == pytest.approx((0.875, 0.020833), abs=5e-7)
    assert (metric.low.item(), metric.high.item()) == pytest.approx((0.345117, 0.989360), abs=1e-6)
    assert not metric.enough.item()


def test_golden_wilson() -> None:
    metric = proportion(50, 1000)
    assert (metric.value.item(), metric.low.item(), metric.high.item()) == pytest.approx(
        (0.05, 0.038130, 0.065314), abs=5e-7
    )


@pytest.mark.parametrize("threshold", [0.5, 0.13])
def test_against_scikit_learn(threshold: float) -> None:
    scores, labels = drawn(1, (5_000,), -1.0, 1.5)
    scores[:4] = [0.0, 1.0, 1e-9, threshold]
    found = measured(scores, labels, threshold)
    predicted = scores >= threshold
    exact = {
        "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
        "precision": sklearn_metrics.precision_score(labels, predicted),
        "recall": sklearn_metrics.recall_score(labels, predicted),
        "f1": sklearn_metrics.f1_score(labels, predicted),
        "log_loss": sklearn_metrics.log_loss(labels, scores),
        "brier": sklearn_metrics.brier_score_loss(labels, scores),
    }
    assert set(found) == set(METRICS["binary"])
    for name, expected in exact.items():
        assert found[name].value.item() == pytest.approx(expected, abs=1e-9), name
    assert found["auc"].value.item() == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=2e-4)
    for name, metric in found.items():
        assert metric.low.item() <= metric.value.item() <= metric.high.item(), name
        assert metric.enough.item(), name


def test_a_window_alone_gets_the_same_bits() -> None:
    scores, labels = drawn(5, (7, 400), -1.0, 1.5)
    together = measured(scores, labels)
    for window in range(7):
        alone = measured(scores[window : window + 1], labels[window : window + 1])
        for name, metric in together.items():
            assert metric.value[window] == alone[name].value[0], name
            assert (metric.low[window], metric.high[window]) == (alone[name].low[0], alone[name].high[0]), name


def test_first_positive_bin() -> None:
    edges = score_edges(0.13)
    first = first_positive(edges, 0.13)
    assert np.searchsorted(edges, 0.13, "right") == first
    assert np.searchsorted(edges, np.nextafter(0.13, 0.0), "right") == first - 1
    with pytest.raises(ValueError, match="no edge"):
        first_positive(edges, 0.2)


def test_phi_widens_and_takes_from_enough() -> None:
    scores, labels = drawn(6, (100,), 0.0, 1.5)
    one, four = measured(scores, labels), measured(scores, labels, phi=4.0)
    for name, metric in one.items():
        if name != "calibration_error":  # of which φ takes more as chance
            assert metric.value == four[name].value, name
        wider = (four[name].high - four[name].low) / (metric.high - metric.low)
        assert 1.3 < wider < 2.4, name
        assert metric.enough.item(), name
        assert not four[name].enough.item(), name


def test_difference_of_proportions_is_newcombes() -> None:
    found = difference(proportion(20, 1000), proportion(0, 100_000))
    delta, low, high = newcombe(20, 1000, 0, 100_000)
    assert (found.value.item(), found.low.item(), found.high.item()) == pytest.approx(
        (delta.item(), low.item(), high.item())
    )
    assert (found.low.item(), found.high.item()) == pytest.approx((0.012984, 0.030690), abs=5e-7)


def test_nothing_is_known_of_nothing() -> None:
    edges = score_edges(0.5)
    found = binary_metrics(np.zeros((2, edges.size + 1, 3)), np.zeros((2, 4)), edges)
    for metric in found.values():
        assert metric.value.shape == (2,)
        assert np.isnan([metric.value, metric.low, metric.high]).all()
        assert not metric.enough.any()
    assert np.isnan(mean([1.0, 0.3, 0.09]).low)
    assert mean([1.0, 0.3, 0.09]).value == 0.3
