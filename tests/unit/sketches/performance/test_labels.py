from functools import partial

import numpy as np
import pytest
from scipy.stats import CensoredData, chi2_contingency, ecdf, expon

from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.performance.calibration import merge_groups
from barograph_server.sketches.performance.calibration_map import learn_calibration
from barograph_server.sketches.performance.maturity import age_edges, learn_maturity
from barograph_server.sketches.performance.metric import MetricEstimate
from barograph_server.sketches.performance.selective import corrected_metrics, selective
from tests.support.performance import BoolArray, FloatArray, covered, drawn, measured, score_histogram

HORIZON = 30 * 86_400.0
AGES = age_edges(HORIZON)
BINS = AGES.size - 1


def counted(present_s: FloatArray, label_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predictions by current age, and labels by current age and delay (∞: never), (..., rows) each."""
    windows = present_s.shape[:-1]
    count = int(np.prod(windows, dtype=np.int64))
    now = np.searchsorted(AGES, present_s, "right") - 1
    then = np.searchsorted(AGES, label_s, "right") - 1
    came = (label_s <= present_s) & (label_s < HORIZON)
    row = np.arange(count).reshape(*windows, 1)
    predictions = np.bincount((row * (BINS + 1) + now).ravel(), minlength=count * (BINS + 1))
    cells = ((row * (BINS + 1) + now) * BINS + np.where(came, then, 0))[came]
    labels = np.bincount(cells, minlength=count * (BINS + 1) * BINS)
    shape = (*windows, BINS + 1)
    return predictions.reshape(shape).astype(np.float64), labels.reshape(*shape, BINS).astype(np.float64)


def delays(seed: int, shape: tuple[int, ...], oldest_s: float) -> tuple[FloatArray, FloatArray]:
    """Present ages up to the oldest, and labels after a day or so (exponential), for 70 % of all."""
    rng = np.random.default_rng(seed)
    ever = rng.random(shape) < 0.7
    return rng.uniform(0.0, oldest_s, shape), np.where(ever, rng.exponential(86_400.0, shape), np.inf)


def test_age_edges() -> None:
    assert (AGES[0], AGES[1], AGES[-1]) == (0.0, 60.0, HORIZON)
    assert (np.diff(AGES) > 0.0).all()
    assert (np.rint(AGES) == AGES).all()
    assert 40 < AGES.size < 60
    assert age_edges(90.0).tolist() == [0.0, 60.0, 73.0, 90.0]
    with pytest.raises(ValueError, match="horizon"):
        age_edges(60.0)


def test_the_curve_while_labels_arrive() -> None:
    learned = learn_maturity(*counted(*delays(1, (200_000,), 2 * HORIZON)), AGES)
    assert learned.coverage.value == pytest.approx(0.7, abs=0.005)
    assert learned.share.value == pytest.approx(expon(scale=86_400).cdf(AGES), abs=0.005)
    days = np.array([[0.25, 1.0], [2.0, 40.0]]) * 86_400.0
    assert learned.maturity(days).value == pytest.approx(expon(scale=86_400).cdf(days), abs=0.006)
    assert learned.mature_age(0.95).item() == pytest.approx(expon(scale=86_400).ppf(0.95), rel=0.03)
    assert learned.share.enough.all()
    assert learned.maturity(0.0).value == 0.0
    assert learned.maturity(HORIZON).value == 1.0
    # Most predictions may be young.
    rng = np.random.default_rng(2)
    present = np.concatenate((rng.uniform(0.0, 43_200.0, 90_000), rng.uniform(0.0, 2 * HORIZON, 10_000)))
    young = learn_maturity(*counted(present, rng.exponential(86_400.0, present.size)), AGES)
    assert young.maturity(86_400.0).value == pytest.approx(expon(scale=86_400).cdf(86_400.0), abs=0.01)


def test_kaplan_meier_of_scipy_on_the_same_bins() -> None:
    """Ages at the ends of their bins, so that binning is exact."""
    rng = np.random.default_rng(3)
    present = rng.integers(1, BINS + 1, 3_000)
    label = np.where(rng.random(3_000) < 0.6, rng.integers(0, BINS, 3_000), BINS + 5)
    came = label < present
    survival = ecdf(CensoredData(uncensored=label[came] + 1.0, right=present[~came].astype(float))).cdf
    learned = learn_maturity(*counted(AGES[present], np.append(AGES[:-1], [np.inf] * 6)[label]), AGES)
    expected = survival.evaluate(np.arange(BINS + 1))
    assert learned.coverage.value == pytest.approx(expected[-1], abs=1e-12)
    assert learned.share.value == pytest.approx(expected / expected[-1], abs=1e-12)


@pytest.mark.parametrize(
    ("phi", "repetitions"), [(1.0, 10), *(pytest.param(phi, 200, marks=pytest.mark.long) for phi in (1.0, 4.0))]
)
def test_intervals_cover(phi: float, repetitions: int) -> None:
    """With φ = 4 each row represents four identical ones; shares between 5 and 95 % count."""
    predictions, labels = counted(*delays(4, (repetitions, 600), 1.5 * HORIZON))
    learned = learn_maturity(phi * predictions, phi * labels, AGES, phi=phi)
    assert covered(learned.coverage, 0.7) >= 0.90
    truth = expon(scale=86_400).cdf(AGES)
    observed = (learned.share.low <= truth) & (truth <= learned.share.high)
    assert (observed[:, (truth > 0.05) & (truth < 0.95)].mean(axis=0) >= 0.90).all()


def test_before_the_horizon_is_reached_nothing_is_mature() -> None:
    """A day of traffic: labels so far differ from later ones."""
    learned = learn_maturity(*counted(*delays(5, (20_000,), 86_400.0)), AGES)
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
        learned = learn_maturity(predictions, np.zeros((BINS + 1, BINS)), AGES)
        assert np.isnan(learned.share.value).all()
        assert not learned.share.enough.any()
        assert learned.mature_age(0.5) == np.inf
        assert np.isnan(learned.maturity(60.0).value)
        assert learned.coverage.low <= learned.coverage.value <= learned.coverage.high


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match="age bins"):
        learn_maturity(np.zeros(BINS), np.zeros((BINS, BINS)), AGES)
    with pytest.raises(ValueError, match="more labels than predictions"):
        learn_maturity(np.zeros(BINS + 1), np.ones((BINS + 1, BINS)), AGES)
    learned = learn_maturity(*counted(*delays(7, (2_000,), 2 * HORIZON)), AGES)
    with pytest.raises(ValueError, match="share"):
        learned.mature_age(1.2)


THRESHOLD = 0.4
EDGES = score_edges(THRESHOLD)


def histograms(scores: FloatArray, labels: BoolArray, known: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Of rows with labels, and of all predictions."""
    everything = score_histogram(scores, EDGES)
    hidden = np.where(known, scores, 2.0)  # beyond every score, so in a bin of their own that is then emptied
    edges = np.append(EDGES, 1.5)
    return score_histogram(hidden, edges, labels & known)[..., :-1, :], everything


def test_against_scipy() -> None:
    rng = np.random.default_rng(1)
    scores, labels = drawn(rng, (5_000,), -1.0, 1.5)
    known = rng.random(5_000) < 0.3 + 0.05 * scores
    labelled_hist, everything = histograms(scores, labels, known)
    groups = merge_groups(np.stack((everything[:, 0], labelled_hist[:, 0]), axis=-1), everything[:, 0])
    table = np.stack((groups[:, 1], groups[:, 0] - groups[:, 1]))
    result = selective(labelled_hist, everything, EDGES)
    assert result.p_value == pytest.approx(chi2_contingency(table, correction=False).pvalue, rel=1e-9)
    assert result.coverage == pytest.approx(known.mean())
    assert result.by_group == pytest.approx(groups[:, 1] / groups[:, 0])
    assert selective(labelled_hist, everything, EDGES, phi=3.0).p_value > result.p_value


def test_selective_labels_are_detected_and_random_labels_are_not() -> None:
    rng = np.random.default_rng(2)
    scores, labels = drawn(rng, (200, 3_000), -1.0, 1.5)
    result = selective(*histograms(scores, labels, rng.random(scores.shape) < 0.3), EDGES)
    assert result.selective.sum() <= 2, "one window of a thousand is expected"
    assert (result.p_value < 0.05).mean() == pytest.approx(0.05, abs=0.05)
    assert result.by_group.shape == (200, 10)
    result = selective(*histograms(scores, labels, rng.random(scores.shape) < 0.1 + 0.5 * scores), EDGES)
    assert result.selective.all()
    assert (result.spread > 0.2).all()
    # A small difference is not reported, however sure it is.
    scores, labels = drawn(np.random.default_rng(3), (1_000_000,), -1.0, 1.5)
    result = selective(*histograms(scores, labels, rng.random(scores.shape) < 0.5 + 0.02 * scores), EDGES)
    assert result.p_value < 1e-4
    assert result.spread < 0.05
    assert not result.selective


def test_windows_with_all_or_no_labels() -> None:
    scores, labels = drawn(np.random.default_rng(4), (2, 100), -1.0, 1.5)
    labelled_hist, everything = histograms(scores, labels, np.array([[True], [False]]))
    result = selective(labelled_hist, everything, EDGES)
    assert result.p_value.tolist() == [1.0, 1.0]
    assert result.coverage.tolist() == [1.0, 0.0]
    assert not result.selective.any()
    nothing = selective(0.0 * labelled_hist, 0.0 * everything, EDGES)
    assert np.isnan(nothing.coverage).all()
    assert not nothing.selective.any()
    with pytest.raises(ValueError, match="more labels than predictions"):
        selective(labelled_hist, 0.0 * everything, EDGES)
    with pytest.raises(ValueError, match="different windows"):
        selective(labelled_hist, everything[0], EDGES)


@pytest.mark.long
def test_correction_of_selective_labels() -> None:
    """Suspicious scores are labelled six times as often; the calibration was learned before a change of concept."""
    result, truth, labelled_hist, everything = corrected(200, 2_000_000)
    assert selective(labelled_hist, everything, EDGES).selective.all()
    for name, metric in result.items():
        assert covered(metric, truth[name].value) >= 0.90, name
        assert metric.value.mean() == pytest.approx(truth[name].value.item(), abs=0.005), name
    first = np.searchsorted(EDGES, THRESHOLD, "right")
    as_it_came = labelled_hist[..., first:, 2].sum(axis=-1) / labelled_hist[..., 2].sum(axis=-1)
    assert as_it_came.mean() > truth["recall"].value + 0.1, "the uncorrected recall of the labels"


def corrected(
    windows: int, true_rows: int
) -> tuple[dict[str, MetricEstimate], dict[str, MetricEstimate], FloatArray, FloatArray]:
    """Corrected metrics of windows, the truth from many rows, and the histograms of the windows."""
    rng = np.random.default_rng(5)
    changed = partial(drawn, rng, mean_odds=-1.0, spread=1.5, concept=lambda odds: odds + 0.6 * np.sin(2.0 * odds))
    scores, labels = drawn(rng, (20_000,), -1.0, 1.5, lambda odds: odds / 2.0 - 0.5)
    calibration = learn_calibration(score_histogram(scores, EDGES, labels), EDGES)
    truth = measured(*changed((true_rows,)), THRESHOLD)
    scores, labels = changed((windows, 3_000))
    labelled_hist, everything = histograms(scores, labels, rng.random(scores.shape) < 0.1 + 0.6 * scores)
    result = corrected_metrics(labelled_hist, everything, calibration, THRESHOLD)
    return result, truth, labelled_hist, everything


def test_golden_corrections() -> None:
    values = {
        "accuracy": [0.778343103573848, 0.7737724611655444],
        "precision": [0.64028704422683, 0.6681376842698709],
        "recall": [0.7001626966552031, 0.6700706325257052],
        "f1": [0.6688875977166532, 0.6691027623935513],
        "auc": [0.8097040461802403, 0.8003672810763561],
    }
    result = corrected(2, 1_000)[0]
    assert result.keys() == values.keys()
    for name, metric in result.items():
        assert metric.value == pytest.approx(values[name], abs=1e-9), name
    # Scores without labels are not corrected.
    scores, labels = drawn(np.random.default_rng(6), (10_000,), -1.0, 1.5)
    calibration = learn_calibration(score_histogram(scores, EDGES, labels), EDGES)
    for known, enough in ((scores >= THRESHOLD, False), (scores > 0.1, True)):
        result = corrected_metrics(*histograms(scores, labels, known), calibration, THRESHOLD)
        assert all(bool(metric.enough) is enough for metric in result.values())
