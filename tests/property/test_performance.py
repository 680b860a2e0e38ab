import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from barograph_server.sketches.performance.binary import binary_metrics
from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.performance.calibration_map import learn_calibration
from barograph_server.sketches.performance.cbpe import cbpe_metrics
from barograph_server.sketches.performance.classes import class_metrics
from barograph_server.sketches.performance.loss import learn_loss, loss_metrics
from barograph_server.sketches.performance.metric import MetricEstimate
from barograph_server.sketches.performance.number import ERROR_RANKS, number_metrics
from barograph_server.sketches.performance.selective import corrected_metrics, selective
from tests.support.performance import confusion, error_sums, score_histogram

FloatArray = NDArray[np.float64]
EDGES = score_edges(0.5)
UNHURRIED = settings(deadline=None, max_examples=25)
ROWS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 1e-9, 0.5, 1.0]), st.floats(0.0, 1.0), st.floats(-5.0, 5.0)),
        st.booleans(),
        st.integers(1, 5_000),
    ),
    max_size=25,
)
"""Score, label, and how many rows are like it."""
PHI = st.sampled_from([1.0, 1.5, 40.0])


def raw(rows: list[tuple[float, bool, int]]) -> tuple[FloatArray, NDArray[np.bool_]]:
    many = np.array([count for _, _, count in rows], np.int64)
    scores = np.repeat(np.array([score for score, _, _ in rows], np.float64), many)
    return scores, np.repeat(np.array([label for _, label, _ in rows], np.bool_), many)


def holds(
    metrics: dict[str, MetricEstimate], limits: tuple[float, float] = (0.0, 1.0), *, has_interval: bool = True
) -> None:
    """Values lie in their intervals, and undefined values are never sufficient."""
    for name, metric in metrics.items():
        known = ~np.isnan(metric.value)
        assert not (metric.enough & ~known).any(), name
        assert not np.isinf([metric.value, metric.low, metric.high]).any(), name
        slack = 1e-12 * np.maximum(1.0, np.abs(metric.value[known]))
        low, value, high = metric.low[known], metric.value[known], metric.high[known]
        assert (np.isnan(low) | (low <= value + slack)).all(), name
        assert (np.isnan(high) | (value <= high + slack)).all(), name
        assert (np.isnan(low[metric.enough[known]]) != has_interval).all(), name
        if name not in ("log_loss", "brier", "calibration_error"):
            assert ((value >= limits[0] - slack) & (value <= limits[1] + slack)).all(), name


@UNHURRIED
@given(ROWS, PHI)
def test_binary_metrics_are_in_range(rows: list[tuple[float, bool, int]], phi: float) -> None:
    scores, labels = raw(rows)
    hist = score_histogram(scores, EDGES, labels)
    holds(binary_metrics(hist, confusion(labels, scores >= 0.5), EDGES, phi=phi))


@UNHURRIED
@given(
    st.integers(2, 5).flatmap(lambda k: st.lists(st.integers(0, 400), min_size=k * k, max_size=k * k)),
    st.lists(st.floats(-1e6, 1e6), max_size=60),
    PHI,
)
def test_metrics_of_classes_and_numbers_are_in_range(cells: list[int], errors: list[float], phi: float) -> None:
    kinds = round(len(cells) ** 0.5)
    counts = np.array(cells, np.float64).reshape(kinds, kinds)
    probability = np.random.default_rng(sum(cells)).dirichlet(np.ones(kinds), size=int(counts.sum()))
    true = np.repeat(np.arange(kinds), counts.sum(axis=1).astype(np.int64))
    hist = score_histogram(probability.T, EDGES, (true == np.arange(kinds)[:, None]))
    holds(class_metrics(counts, hist, EDGES, phi=phi))
    values = np.array(errors, np.float64)
    quantiles = np.quantile(np.abs(values), ERROR_RANKS) if values.size else np.full(ERROR_RANKS.size, np.nan)
    holds(number_metrics(error_sums(values), quantiles, phi=phi), (-1e7, 1e7))


@UNHURRIED
@given(st.lists(ROWS, min_size=2, max_size=4), PHI)
def test_windows_do_not_touch_one_another(windows: list[list[tuple[float, bool, int]]], phi: float) -> None:
    each = [raw(rows) for rows in windows]
    hist = np.stack([score_histogram(scores, EDGES, labels) for scores, labels in each])
    counts = np.stack([confusion(labels, scores >= 0.5) for scores, labels in each])
    together = binary_metrics(hist, counts, EDGES, phi=phi)
    for window in range(len(windows)):
        alone = binary_metrics(hist[window], counts[window], EDGES, phi=phi)
        for name, metric in together.items():
            for part in ("value", "low", "high", "enough"):
                np.testing.assert_array_equal(getattr(metric, part)[window], getattr(alone[name], part), name)


@settings(UNHURRIED, max_examples=20)
@given(ROWS, ROWS, PHI)
def test_estimates_and_corrections_are_in_range(
    reference: list[tuple[float, bool, int]], rows: list[tuple[float, bool, int]], phi: float
) -> None:
    base = score_histogram(raw(reference)[0], EDGES, raw(reference)[1])
    base[100, :] += [60.0, 30.0, 30.0]
    calibration = learn_calibration(base, EDGES)
    assert ((calibration.rate >= 0.0) & (calibration.rate <= 1.0)).all()
    scores, labels = raw(rows)
    everything = score_histogram(scores, EDGES)
    labelled_rows = score_histogram(scores[::3], EDGES, labels[::3])
    holds(cbpe_metrics(everything, calibration, 0.5, phi=phi))
    holds(corrected_metrics(labelled_rows, everything, calibration, 0.5, phi=phi))
    estimates = selective(labelled_rows, everything, EDGES, phi=phi)
    assert (estimates.p_value >= 0.0) & (estimates.p_value <= 1.0)
    assert estimates.spread >= 0.0


@UNHURRIED
@given(
    st.lists(st.tuples(st.integers(-5, 5), st.floats(0.0, 1e6)), min_size=20, max_size=80),
    st.lists(st.integers(0, 300), min_size=13, max_size=13),
    PHI,
)
def test_estimated_errors_are_in_range(labelled: list[tuple[int, float]], counts: list[int], phi: float) -> None:
    bins = np.arange(-6, 7)
    sums = np.zeros((bins.size, 3))
    for number, size in labelled:
        sums[number + 6] += (1.0, size, size**2)
    holds(loss_metrics(bins, counts, learn_loss(bins, sums), phi=phi), (0.0, 1e8), has_interval=False)
