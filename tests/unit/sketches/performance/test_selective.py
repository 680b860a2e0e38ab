"""Labels that arrive more often for some scores: detection and correction."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.performance.calibration import merge_groups
from barograph_server.sketches.performance.calibration_map import learn_calibration
from barograph_server.sketches.performance.metric import MetricEstimate
from barograph_server.sketches.performance.selective import corrected_metrics, selective
from tests.support.performance import BoolArray, FloatArray, covered, drawn, measured, score_histogram

THRESHOLD = 0.4
EDGES = score_edges(THRESHOLD)
GOLDEN_CORRECTED: dict[str, tuple[float, float]] = {
    "accuracy": (0.778343103573848, 0.7737724611655444),
    "precision": (0.64028704422683, 0.6681376842698709),
    "recall": (0.7001626966552031, 0.6700706325257052),
    "f1": (0.6688875977166532, 0.6691027623935513),
    "auc": (0.8097040461802403, 0.8003672810763561),
}
"""Of two windows."""


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

    def concept(odds: FloatArray) -> FloatArray:
        return odds + 0.6 * np.sin(2.0 * odds)

    before = drawn(rng, (20_000,), -1.0, 1.5, lambda odds: odds / 2.0 - 0.5)
    calibration = learn_calibration(score_histogram(before[0], EDGES, before[1]), EDGES)
    truth = measured(*drawn(rng, (true_rows,), -1.0, 1.5, concept), THRESHOLD)
    scores, labels = drawn(rng, (windows, 3_000), -1.0, 1.5, concept)
    labelled_hist, everything = histograms(scores, labels, rng.random(scores.shape) < 0.1 + 0.6 * scores)
    result = corrected_metrics(labelled_hist, everything, calibration, THRESHOLD)
    return result, truth, labelled_hist, everything


def test_golden_corrections() -> None:
    result, _, _, _ = corrected(2, 1_000)
    values = {name: tuple(metric.value.tolist()) for name, metric in result.items()}
    assert values == {name: pytest.approx(golden, abs=1e-9) for name, golden in GOLDEN_CORRECTED.items()}
    # Scores without labels are not corrected.
    scores, labels = drawn(np.random.default_rng(6), (10_000,), -1.0, 1.5)
    calibration = learn_calibration(score_histogram(scores, EDGES, labels), EDGES)
    for known, enough in ((scores >= THRESHOLD, False), (scores > 0.1, True)):
        result = corrected_metrics(*histograms(scores, labels, known), calibration, THRESHOLD)
        assert all(bool(metric.enough) is enough for metric in result.values())
