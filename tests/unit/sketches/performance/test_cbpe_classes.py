from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.performance.cbpe_classes import (
    ClassCalibration,
    class_cbpe_metrics,
    learn_class_calibration,
)
from barograph_server.sketches.performance.classes import class_metrics
from barograph_server.sketches.performance.metric import MetricEstimate
from tests.support.performance import class_confusion, score_histogram

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
KINDS = 4
EDGES = score_edges(0.5)
MEAN = np.array([1.0, 0.0, 0.0, -1.0])
"""Mean logit of each class."""
SHIFT = np.array([-1.0, 0.5, 0.0, 1.5])
ESTIMATED = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "auc_macro")
GOLDEN_SHIFTED = (0.6197000526707913, 0.6157398137757096, 0.6113766600303316, 0.6130255235157673, 0.8499857445978523)


def drawn(
    rng: np.random.Generator, rows: int, mean: FloatArray = MEAN, sharpness: float = 1.0
) -> tuple[FloatArray, IntArray]:
    """Generate probabilities and labels; the true logits are divided by `sharpness`."""
    logits = rng.normal(mean, 1.5, (rows, KINDS))
    true = softmax(logits / sharpness, axis=-1)
    labels = (rng.random(rows)[:, None] > true.cumsum(axis=-1)).sum(axis=-1).clip(0, KINDS - 1)
    return softmax(logits, axis=-1), labels


def histograms(probability: FloatArray, labels: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return rows by the probability of each class, and those of predictions of the class, shape (K, n_bins, 3)."""
    chosen = probability.argmax(axis=-1)
    own = [score_histogram(probability[chosen == k, k], EDGES, labels[chosen == k] == k) for k in range(KINDS)]
    return score_histogram(probability.T, EDGES, np.eye(KINDS)[labels].T), np.stack(own)


@cache
def learned(seed: int, rows: int, sharpness: float = 1.0) -> ClassCalibration:
    return learn_class_calibration(*histograms(*drawn(np.random.default_rng(seed), rows, sharpness=sharpness)), EDGES)


def estimated(probability: FloatArray, calibration: ClassCalibration) -> dict[str, MetricEstimate]:
    everything, own = histograms(probability, np.zeros(len(probability), np.int64))
    return class_cbpe_metrics(everything[..., :2], own[..., :2], calibration)


def test_golden_estimates_under_covariate_shift() -> None:
    probability, _ = drawn(np.random.default_rng(8), 5_000, MEAN + 0.5 * SHIFT)
    result = estimated(probability, learned(7, 20_000))
    assert tuple(result) == ESTIMATED
    assert tuple(float(metric.value) for metric in result.values()) == pytest.approx(GOLDEN_SHIFTED, abs=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("sharpness", [1.0, 2.0], ids=["calibrated", "overconfident"])
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_estimates_under_covariate_shift_are_those_of_labels(shift: float, sharpness: float) -> None:
    """A reference of 100,000 rows, and traffic whose chance is small. Values from labels are scikit-learn's."""
    rng = np.random.default_rng(8)
    probability, labels = drawn(rng, 400_000, MEAN + shift * SHIFT, sharpness)
    predicted = probability.argmax(axis=-1)
    result = estimated(probability, learned(1, 100_000, sharpness))
    limit = 0.005 if sharpness == 1.0 or shift == 0.0 else 0.02
    assert result["accuracy"].value == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted), abs=limit)
    for name in ("precision", "recall", "f1"):
        truth = getattr(sklearn_metrics, f"{name}_score")(labels, predicted, average="macro")
        assert result[f"{name}_macro"].value == pytest.approx(truth, abs=limit), name
    truth = sklearn_metrics.roc_auc_score(labels, probability, average="macro", multi_class="ovr")
    assert result["auc_macro"].value == pytest.approx(truth, abs=limit)


def test_values_and_intervals_are_the_formulas() -> None:
    """With maps known without doubt, from the probabilities of single rows."""
    probability, _ = drawn(np.random.default_rng(1), 3_000)
    calibration = learned(7, 20_000)
    for maps in (calibration.of_predicted, calibration.of_others):
        for each in maps.maps:
            each.covariance[...] = 0.0
    chosen = probability.argmax(axis=-1)
    bins = np.searchsorted(EDGES, probability, "right")
    of_class = np.arange(KINDS)
    rates = (each.rate[of_class, bins] for each in (calibration.of_predicted, calibration.of_others))
    right = np.where(chosen[:, None] == of_class, *rates)
    own = right[np.arange(len(chosen)), chosen]
    result = estimated(probability, calibration)
    half = 1.959964 * np.sqrt((own * (1.0 - own)).sum()) / len(own)
    assert result["accuracy"].value == pytest.approx(own.mean())
    assert result["accuracy"].high - result["accuracy"].value == pytest.approx(half, rel=1e-6)
    assert result["accuracy"].value - result["accuracy"].low == pytest.approx(half, rel=1e-6)
    precision, recall, f1, error = [], [], [], []
    for k in range(KINDS):
        hits, predicted, true = own[chosen == k].sum(), (chosen == k).sum(), right[:, k].sum()
        precision.append(hits / predicted)
        recall.append(hits / true)
        f1.append(2.0 * hits / (predicted + true))
        # The derivatives of f1 by one more hit and one more miss, as differences.
        step = 1e-4
        by_hit = (2.0 * (hits + step) / (predicted + true + step) - f1[-1]) / step
        by_miss = (2.0 * hits / (predicted + true + step) - f1[-1]) / step
        chance = right[:, k] * (1.0 - right[:, k]) * np.where(chosen == k, by_hit, by_miss) ** 2
        error.append(np.sqrt(chance.sum()))
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert result[f"{name}_macro"].value == pytest.approx(np.mean(values)), name
    half = 1.959964 * np.mean(error)
    assert result["f1_macro"].high - result["f1_macro"].value == pytest.approx(half, rel=1e-4)
    learned.cache_clear()


@pytest.mark.parametrize(
    ("references", "rows", "least"), [(1, 5_000, 0.9), pytest.param(20, 10_000, 0.92, marks=pytest.mark.long)]
)
def test_intervals_cover_the_values_from_labels(references: int, rows: int, least: float) -> None:
    """Those of 20 windows of 1,000 and a shift."""
    rng = np.random.default_rng(2)
    inside = dict.fromkeys(ESTIMATED, 0)
    for seed in range(references):
        calibration = learned(100 + seed, rows)
        for _ in range(20):
            probability, labels = drawn(rng, 1_000, MEAN + 0.5 * SHIFT)
            result = estimated(probability, calibration)
            confusion = class_confusion(labels, probability.argmax(-1), KINDS)
            truth = class_metrics(confusion, histograms(probability, labels)[0], EDGES)
            for name, metric in result.items():
                assert metric.enough
                inside[name] += bool(metric.low <= truth[name].value <= metric.high)
    assert min(inside.values()) >= least * references * 20
    assert inside["accuracy"] <= 0.98 * references * 20


def test_classes_with_few_rows_share_a_map() -> None:
    everything, own = histograms(*drawn(np.random.default_rng(4), 20_000, np.array([1.0, 0.0, 0.0, -40.0])))
    everything[2, :, 2] += own[2, :, 0] - own[2, :, 2]
    own[2, :, 2] = own[2, :, 0]
    calibration = learn_class_calibration(everything, own, EDGES)
    shared = calibration.of_predicted.map_of_class
    assert shared[2] == shared[3], "class 2 never errs, and class 3 does not occur"
    assert 1 < len(calibration.of_predicted.maps) < KINDS
    result = class_cbpe_metrics(everything[..., :2], own[..., :2], calibration)
    hits, predicted = own[..., 2].sum(axis=-1), own[..., 0].sum(axis=-1)
    assert result["accuracy"].value == pytest.approx(hits.sum() / predicted.sum(), abs=2e-3)
    assert result["precision_macro"].value == pytest.approx(np.mean(hits[:3] / predicted[:3]), abs=0.05)
    assert result["f1_macro"].enough, "of the three classes that occur"
    with pytest.raises(ValueError, match="at least 20 labelled rows"):
        learn_class_calibration(*histograms(*drawn(np.random.default_rng(4), 30)), EDGES)


def test_no_predictions_give_no_estimate_and_wrong_shapes_are_rejected() -> None:
    calibration = learned(7, 20_000)
    nothing = np.zeros((2, KINDS, EDGES.size + 1, 2))
    for name, metric in class_cbpe_metrics(nothing, nothing, calibration).items():
        assert metric.value.shape == (2,), name
        assert np.isnan([metric.value, metric.low, metric.high]).all(), name
        assert not metric.enough.any(), name
    with pytest.raises(ValueError, match="histogram of predictions"):
        class_cbpe_metrics(nothing[..., :1], nothing, calibration)
