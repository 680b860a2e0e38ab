"""The curve of label delays, estimated while labels are still arriving."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf, expon

from barograph_server.sketches.performance.maturity import Maturity, age_edges, learn_maturity
from tests.support.performance import covered

FloatArray = NDArray[np.float64]
HORIZON = 30 * 86_400.0
EDGES = age_edges(HORIZON)
BINS = EDGES.size - 1


GOLDEN_COVERAGE: tuple[int, list[int]] = (9, [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 9, 10, 10, 10, 10])
"""Of 10 intervals, those that contain the coverage, and those that contain the share by age."""


def counted(present_s: FloatArray, label_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predictions by current age, and labels by current age and delay (∞: never), (..., rows) each."""
    windows = present_s.shape[:-1]
    count = int(np.prod(windows, dtype=np.int64))
    now = np.searchsorted(EDGES, present_s, "right") - 1
    then = np.searchsorted(EDGES, label_s, "right") - 1
    came = (label_s <= present_s) & (label_s < HORIZON)
    row = np.arange(count).reshape(*windows, 1)
    predictions = np.bincount((row * (BINS + 1) + now).ravel(), minlength=count * (BINS + 1))
    cells = ((row * (BINS + 1) + now) * BINS + np.where(came, then, 0))[came]
    labels = np.bincount(cells, minlength=count * (BINS + 1) * BINS)
    shape = (*windows, BINS + 1)
    return predictions.reshape(shape).astype(np.float64), labels.reshape(*shape, BINS).astype(np.float64)


def drawn(seed: int, shape: tuple[int, ...], oldest_s: float, coverage: float = 0.7) -> tuple[FloatArray, FloatArray]:
    """Present ages up to the oldest, and labels after a day or so (exponential), for a part of all."""
    rng = np.random.default_rng(seed)
    ever = rng.random(shape) < coverage
    return rng.uniform(0.0, oldest_s, shape), np.where(ever, rng.exponential(86_400.0, shape), np.inf)


def test_age_edges() -> None:
    assert (EDGES[0], EDGES[1], EDGES[-1]) == (0.0, 60.0, HORIZON)
    assert (np.diff(EDGES) > 0.0).all()
    assert (np.rint(EDGES) == EDGES).all()
    assert 40 < EDGES.size < 60
    assert age_edges(90.0).tolist() == [0.0, 60.0, 73.0, 90.0]
    with pytest.raises(ValueError, match="horizon"):
        age_edges(60.0)


def test_the_curve_while_labels_arrive() -> None:
    learned = learn_maturity(*counted(*drawn(1, (200_000,), 2 * HORIZON)), EDGES)
    assert learned.coverage.value == pytest.approx(0.7, abs=0.005)
    assert learned.share.value == pytest.approx(expon(scale=86_400).cdf(EDGES), abs=0.005)
    days = np.array([[0.25, 1.0], [2.0, 40.0]]) * 86_400.0
    assert learned.maturity(days).value == pytest.approx(expon(scale=86_400).cdf(days), abs=0.006)
    assert learned.mature_age(0.95).item() == pytest.approx(expon(scale=86_400).ppf(0.95), rel=0.03)
    assert learned.share.enough.all()
    assert learned.maturity(0.0).value == 0.0
    assert learned.maturity(HORIZON).value == 1.0
    # Most predictions may be young.
    rng = np.random.default_rng(2)
    present = np.concatenate((rng.uniform(0.0, 43_200.0, 90_000), rng.uniform(0.0, 2 * HORIZON, 10_000)))
    young = learn_maturity(*counted(present, rng.exponential(86_400.0, present.size)), EDGES)
    assert young.maturity(86_400.0).value == pytest.approx(expon(scale=86_400).cdf(86_400.0), abs=0.01)


def test_kaplan_meier_of_scipy_on_the_same_bins() -> None:
    """Ages at the ends of their bins, so that binning is exact."""
    rng = np.random.default_rng(3)
    present = rng.integers(1, BINS + 1, 3_000)
    label = np.where(rng.random(3_000) < 0.6, rng.integers(0, BINS, 3_000), BINS + 5)
    came = label < present
    survival = ecdf(CensoredData(uncensored=label[came] + 1.0, right=present[~came].astype(float))).cdf
    learned = learn_maturity(*counted(EDGES[present], np.append(EDGES[:-1], [np.inf] * 6)[label]), EDGES)
    expected = survival.evaluate(np.arange(BINS + 1))
    assert learned.coverage.value == pytest.approx(expected[-1], abs=1e-12)
    assert learned.share.value == pytest.approx(expected / expected[-1], abs=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("phi", [1.0, 4.0])
def test_intervals_cover(phi: float) -> None:
    """200 repetitions; with φ = 4 each row represents four identical ones."""
    learned, inner, observed = repeated(phi, 200)
    assert covered(learned.coverage, 0.7) >= 0.90
    assert (observed[:, inner].mean(axis=0) >= 0.90).all()


def repeated(phi: float, repetitions: int) -> tuple[Maturity, NDArray[np.bool_], NDArray[np.bool_]]:
    """What is learned, which ages have a share between 5 and 95 %, and which intervals contain the share."""
    present, label = drawn(4, (repetitions, 600), 1.5 * HORIZON)
    predictions, labels = counted(present, label)
    learned = learn_maturity(phi * predictions, phi * labels, EDGES, phi=phi)
    truth = expon(scale=86_400).cdf(EDGES)
    observed = (learned.share.low <= truth) & (truth <= learned.share.high)
    return learned, (truth > 0.05) & (truth < 0.95), observed


def test_golden_coverage() -> None:
    learned, inner, observed = repeated(1.0, 10)
    assert np.round(10 * covered(learned.coverage, 0.7)) == GOLDEN_COVERAGE[0]
    assert observed[:, inner].sum(axis=0).tolist() == GOLDEN_COVERAGE[1]


def test_before_the_horizon_is_reached_nothing_is_mature() -> None:
    """A day of traffic: labels so far differ from later ones."""
    learned = learn_maturity(*counted(*drawn(5, (20_000,), 86_400.0)), EDGES)
    assert not learned.coverage.enough
    assert learned.coverage.value < 0.5
    assert learned.coverage.high == 1.0
    assert learned.mature_age(0.95) == np.inf
    truth = expon(scale=86_400).cdf(43_200.0)
    half_day = learned.maturity(43_200.0)
    assert half_day.low < truth < half_day.value
    assert not half_day.enough


def test_no_predictions_and_no_labels() -> None:
    for predictions in (np.zeros(BINS + 1), np.full(BINS + 1, 50.0)):
        learned = learn_maturity(predictions, np.zeros((BINS + 1, BINS)), EDGES)
        assert np.isnan(learned.share.value).all()
        assert not learned.share.enough.any()
        assert learned.mature_age(0.5) == np.inf
        assert np.isnan(learned.maturity(60.0).value)
        assert learned.coverage.low <= learned.coverage.value <= learned.coverage.high


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match="age bins"):
        learn_maturity(np.zeros(BINS), np.zeros((BINS, BINS)), EDGES)
    with pytest.raises(ValueError, match="more labels than predictions"):
        learn_maturity(np.zeros(BINS + 1), np.ones((BINS + 1, BINS)), EDGES)
    learned = learn_maturity(*counted(*drawn(7, (2_000,), 2 * HORIZON)), EDGES)
    with pytest.raises(ValueError, match="share"):
        learned.mature_age(1.2)
