from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from barograph_server.sketches.performance.loss import LossMap, learn_loss, loss_metrics
from barograph_server.sketches.performance.metric import clustered_rate

FloatArray = NDArray[np.float64]
BINS = np.arange(-2_000, 2_000)
"""Bins of predictions, each 0.01 wide."""


def drawn_errors(rng: np.random.Generator, rows: int, shift: float = 0.0) -> tuple[FloatArray, FloatArray]:
    predictions = rng.normal(shift, 1.0, rows)
    return predictions, rng.normal(0.0, np.exp(0.5 * predictions))


def counted(predictions: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    return np.bincount(np.floor(predictions * 100).astype(int) + 2_000, weights, BINS.size).astype(np.float64)


def learned(rng: np.random.Generator, rows: int) -> LossMap:
    predictions, errors = drawn_errors(rng, rows)
    parts = (None, np.abs(errors), errors**2)
    return learn_loss(BINS, np.stack([counted(predictions, weights) for weights in parts], axis=-1))


def of_labels(errors: FloatArray) -> dict[str, float]:
    return {"mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean()))}


def test_the_reference_has_its_own_errors() -> None:
    predictions, errors = drawn_errors(np.random.default_rng(1), 30_000)
    estimates = loss_metrics(BINS, counted(predictions), learned(np.random.default_rng(1), 30_000))
    assert {name: each.value.item() for name, each in estimates.items()} == pytest.approx(of_labels(errors), rel=1e-12)
    assert all(each.enough for each in estimates.values())


def test_values_are_means_over_groups_and_need_enough_predictions() -> None:
    """Two bins with 40 labelled rows each are two groups, with means of |e| of 1 and 4."""
    small, large = np.repeat([0.5, 1.5], 20), np.repeat([2.0, 6.0], 20)
    sums = [[40.0, each.sum(), (each**2).sum()] for each in (small, large)]
    losses = learn_loss([10, 20, 30], [sums[0], [0.0] * 3, sums[1]])
    # The mean of 3.25 is random by 1.96 · 1.3 / √n, more than a tenth of it below 62 predictions.
    estimates = loss_metrics([10, 20, 30], [[100.0, 0.0, 300.0], [0.0] * 3, [15.0, 0.0, 45.0], [19.0, 0, 0]], losses)
    for name, value in {"mae": 3.25, "rmse": np.sqrt((100 * 1.25 + 300 * 20.0) / 400)}.items():
        assert estimates[name].value == pytest.approx([value, np.nan, np.nan, np.nan], nan_ok=True)
        assert estimates[name].enough.tolist() == [True, False, False, False]
        assert np.isnan([estimates[name].low, estimates[name].high]).all()
    correlated = loss_metrics([10, 20, 30], [[100.0, 0.0, 300.0]], losses, phi=8.0)
    assert np.isnan(correlated["mae"].value).all()


def test_golden_covariate_shift() -> None:
    losses = learned(np.random.default_rng(2), 50_000)
    usual = of_labels(drawn_errors(np.random.default_rng(4), 500_000)[1])
    for shift in (-1.0, -0.5, 0.5, 1.0):
        predictions, errors = drawn_errors(np.random.default_rng(3), 500_000, shift)
        truth = of_labels(errors)
        for name, estimate in loss_metrics(BINS, counted(predictions), losses).items():
            assert estimate.value == pytest.approx(truth[name], rel=0.05), name
            assert abs(usual[name] - truth[name]) > 0.15 * truth[name], name
    # Predictions outside the reference have no estimate.
    few, far = (loss_metrics(BINS, counted(np.repeat([0.5, 15.0], (960, n_beyond))), losses) for n_beyond in (40, 80))
    for name in ("mae", "rmse"):
        assert np.isfinite(few[name].value)
        assert np.isnan([far[name].value, far[name].low, far[name].high]).all()
        assert not far[name].enough


def test_few_labels_and_wrong_shapes_are_rejected() -> None:
    with pytest.raises(ValueError, match="at least 20 labelled rows"):
        learn_loss([1, 2], [[10.0, 1.0, 1.0], [9.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="sums of losses"):
        learn_loss([1], [[20.0, 1.0]])
    with pytest.raises(ValueError, match="counts of predictions"):
        loss_metrics([1, 2], [5.0], learned(np.random.default_rng(8), 100))


def test_the_interval_is_wilsons_of_the_effective_answers() -> None:
    # By hand: p = 2/3, Σ(s − 2p)² = 10/3, variance 6/5 · (10/3) / 144 = 1/36, φ = (1/36) · 12 / (2/9) = 1.5: 8 answers.
    # The golden values are Wilson's formula written out with these numbers.
    estimate = clustered_rate([2, 1, 0, 2, 2, 1], [2] * 6)
    golden = (2 / 3, 0.3387120641610234, 0.8864854142110165)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(golden, abs=1e-9)
    # Epochs that repeat the first answer add nothing.
    once, thrice = clustered_rate([1, 0, 1, 1] * 15, [1] * 60), clustered_rate([3, 0, 3, 3] * 15, [3] * 60)
    np.testing.assert_allclose((thrice.low, thrice.high), (once.low, once.high), rtol=0, atol=1e-12)


def test_without_a_difference_between_items_each_counts_once() -> None:
    estimate = clustered_rate([3] * 10, [3] * 10)
    assert estimate.low == pytest.approx(0.7224672001371109, abs=1e-9)
    assert estimate.high == 1.0
    assert clustered_rate([2], [4]).low == pytest.approx(0.05462075552885204, abs=1e-9)
    assert np.isnan(clustered_rate([], []).value)


def test_scores_outside_0_to_1_are_errors() -> None:
    wrong: tuple[tuple[Any, Any], ...] = (([1, 2], [1, 1]), ([1], [0]), ([1, 1], [1]), ([float("nan")], [1]))
    for sums, counts in wrong:
        with pytest.raises(ValueError, match=r"items need one shape|between 0 and 1"):
            clustered_rate(sums, counts)


@pytest.mark.parametrize(("runs", "least"), [(100, 0.92), pytest.param(1000, 0.915, marks=pytest.mark.long)])
def test_intervals_cover_the_mean_of_new_items(runs: int, least: float) -> None:
    for items, epochs, p in ((50, 1, 0.5), (50, 4, 0.5), (50, 4, 0.9), (100, 4, 0.9)):
        rng, inside = np.random.default_rng(5), 0
        for _ in range(runs):
            sums = rng.binomial(epochs, rng.beta(2 * p, 2 * (1 - p), items))
            estimate = clustered_rate(sums, np.full(items, epochs))
            inside += bool(estimate.low <= p <= estimate.high)
        assert inside >= least * runs, (items, epochs, p)
