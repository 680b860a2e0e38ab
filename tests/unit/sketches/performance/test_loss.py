"""Errors of numbers before labels: right if traffic moves to other predictions, not trusted after concept drift."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from barograph_server.sketches.performance.loss import LossMap, learn_loss, loss_metrics

FloatArray = NDArray[np.float64]
GOLDEN_COVERAGE = (38, 36)
"""Of 40 intervals of MAE, and of RMSE."""
BINS = np.arange(-2_000, 2_000)
"""Bins of predictions, each 0.01 wide."""


def drawn(
    rng: np.random.Generator, rows: int, shift: float = 0.0, factor: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    predictions = rng.normal(shift, 1.0, rows)
    return predictions, rng.normal(0.0, factor * np.exp(0.5 * predictions))


def counted(predictions: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    return np.bincount(np.floor(predictions * 100).astype(int) + 2_000, weights, BINS.size).astype(np.float64)


def learned(rng: np.random.Generator, rows: int) -> LossMap:
    predictions, errors = drawn(rng, rows)
    parts = (None, np.abs(errors), errors**2, errors**4)
    return learn_loss(BINS, np.stack([counted(predictions, weights) for weights in parts], axis=-1))


def of_labels(errors: FloatArray) -> dict[str, float]:
    return {"mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean()))}


def test_the_reference_has_its_own_errors() -> None:
    predictions, errors = drawn(np.random.default_rng(1), 30_000)
    estimates = loss_metrics(BINS, counted(predictions), learned(np.random.default_rng(1), 30_000))
    assert {name: each.value.item() for name, each in estimates.items()} == pytest.approx(of_labels(errors), rel=1e-12)
    assert all(each.enough for each in estimates.values())


def test_values_and_intervals_are_the_formulas() -> None:
    """Two bins with 40 labelled rows each are two groups."""
    small, large = np.repeat([0.5, 1.5], 20), np.repeat([2.0, 6.0], 20)
    sums = [[40.0, each.sum(), (each**2).sum(), (each**4).sum()] for each in (small, large)]
    losses = learn_loss([10, 20, 30], [sums[0], [0.0] * 4, sums[1]])
    estimates = loss_metrics([10, 20, 30], [[100.0, 0.0, 300.0], [0.0, 0.0, 0.0]], losses)
    estimate = estimates["mae"]
    value = (100 * 1.0 + 300 * 4.0) / 400
    variances = small.var(ddof=1), large.var(ddof=1)
    chance = (100 * variances[0] + 300 * variances[1]) / 400**2
    uncertainty = 0.25**2 * variances[0] / 40 + 0.75**2 * variances[1] / 40
    half = 1.959964 * np.sqrt(chance + uncertainty)
    assert estimate.value[0] == pytest.approx(value)
    assert estimate.low[0] == pytest.approx(value - half, rel=1e-6)
    assert estimate.high[0] == pytest.approx(value + half, rel=1e-6)
    wide = loss_metrics([10, 20, 30], [100.0, 0.0, 300.0], losses, phi=4.0)["mae"]
    assert wide.high - value == pytest.approx(1.959964 * np.sqrt(4.0 * chance + uncertainty), rel=1e-6)
    assert np.isnan([estimate.value[1], estimate.low[1], estimate.high[1]]).all()
    assert estimate.enough.tolist() == [True, False]
    rmse = estimates["rmse"]
    square = (100 * (small**2).mean() + 300 * (large**2).mean()) / 400
    variances = (small**2).var(ddof=1), (large**2).var(ddof=1)
    chance = (100 * variances[0] + 300 * variances[1]) / 400**2
    uncertainty = 0.25**2 * variances[0] / 40 + 0.75**2 * variances[1] / 40
    factor = np.exp(1.959964 * np.sqrt(chance + uncertainty) / square)
    assert rmse.value[0] == pytest.approx(np.sqrt(square))
    assert rmse.low[0] == pytest.approx(np.sqrt(square / factor), rel=1e-6)
    assert rmse.high[0] == pytest.approx(np.sqrt(square * factor), rel=1e-6)
    assert np.isnan([rmse.value[1], rmse.low[1], rmse.high[1]]).all()
    assert rmse.enough.tolist() == [True, False]


def test_golden_covariate_shift() -> None:
    losses = learned(np.random.default_rng(2), 50_000)
    usual = of_labels(drawn(np.random.default_rng(4), 500_000)[1])
    for shift in (-1.0, -0.5, 0.5, 1.0):
        predictions, errors = drawn(np.random.default_rng(3), 500_000, shift)
        truth = of_labels(errors)
        for name, estimate in loss_metrics(BINS, counted(predictions), losses).items():
            assert estimate.value == pytest.approx(truth[name], rel=0.05), name
            assert abs(usual[name] - truth[name]) > 0.15 * truth[name], name
    # Predictions outside the reference have no estimate.
    inside, outside = np.full(960, 0.5), np.full(40, 15.0)
    few, far = (
        loss_metrics(BINS, counted(np.concatenate((inside, *beyond))), losses)
        for beyond in ((outside,), (outside, outside))
    )
    for name in ("mae", "rmse"):
        assert np.isfinite(few[name].value)
        assert np.isnan([far[name].value, far[name].low, far[name].high]).all()
        assert not far[name].enough


def covering(references: int) -> tuple[int, int]:
    """How many intervals of 20 windows of 1,000 and a shift contain MAE, and RMSE; a reference has 5,000 rows."""
    rng = np.random.default_rng(5)
    inside = {"mae": 0, "rmse": 0}
    for _ in range(references):
        losses = learned(rng, 5_000)
        for _ in range(20):
            predictions, errors = drawn(rng, 1_000, 0.2)
            truth = of_labels(errors)
            for name, estimate in loss_metrics(BINS, counted(predictions), losses).items():
                inside[name] += bool(estimate.low <= truth[name] <= estimate.high)
    return inside["mae"], inside["rmse"]


def test_golden_coverage() -> None:
    assert covering(2) == GOLDEN_COVERAGE


@pytest.mark.long
def test_intervals_cover_the_values_from_labels() -> None:
    for inside in covering(40):
        assert 0.92 <= inside / 800 <= 0.98


def test_few_labels_and_wrong_shapes_are_rejected() -> None:
    with pytest.raises(ValueError, match="at least 20 labelled rows"):
        learn_loss([1, 2], [[10.0, 1.0, 1.0, 1.0], [9.0, 1.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="sums of losses"):
        learn_loss([1], [[20.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="counts of predictions"):
        loss_metrics([1, 2], [5.0], learned(np.random.default_rng(8), 100))
