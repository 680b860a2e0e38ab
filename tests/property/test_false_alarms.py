"""Verdicts, single windows and the rule `performance-drop` alarm at most as often as they say where nothing changed.

And the predicted time to detection agrees with the real verdicts. `python -m tests.reference.false_alarms` and
`python -m tests.reference.page_times` print what is measured.
"""

import math

import numpy as np
import pytest
from barograph.contract.alerts import FAST_RATIO, LARGE_DROP_RATIO
from numpy.typing import NDArray

from barograph_server.alerts.templates.labels import RELATIVE_MARGIN
from barograph_server.sketches.detection.delay import QUANTILES
from barograph_server.sketches.drift.overdispersion import learn_phi
from barograph_server.sketches.drift.psi import psi_values, psi_verdicts
from barograph_server.sketches.performance.metric import difference
from barograph_server.warehouse.signals.verdicts import ALONE_EVENTS
from tests.reference import false_alarms
from tests.reference.page_times import CHANGES, Change, predicted_hours, simulated_hours


@pytest.mark.long
@pytest.mark.parametrize("kind", false_alarms.KINDS, ids=[kind.name for kind in false_alarms.KINDS])
def test_false_alarms_are_at_most_nominal(kind: false_alarms.Kind) -> None:
    for n in false_alarms.SIZES:
        outcome = false_alarms.simulate(kind, n)
        for alarms, nominal in ((outcome.doubt, kind.doubt), (outcome.level, kind.level)):
            if alarms is not None:
                assert alarms.mean() <= false_alarms.at_most(nominal, alarms.size), (
                    f"{n:,} events: more than {nominal:.2%}"
                )


MAJOR = 0.2
WINDOWS = 10_000
RUNS = {"independent": (1,), "runs of 1 to 12": (1, 2, 5, 12), "runs of 5 to 30": (5, 10, 30), "runs of 50": (50,)}
"""Lengths of runs of equal events; a window has equally many runs of each length."""
AT_MOST = {"independent": 0, "runs of 1 to 12": 0, "runs of 5 to 30": 0, "runs of 50": 1}
"""Quiet windows that page alone: in the worst cell, ten runs of 50 events hold a category with a share of 0.1%."""
SHAPES = {
    **{"ten bins": false_alarms.TEN, "categories": false_alarms.ZIPF_BINS, "integers": false_alarms.TAIL},
    **{f"rate of {rate}": np.array([1 - rate, rate]) for rate in (0.5, 0.02, 0.001)},
}


def alone(shape: str, runs: tuple[int, ...], n: int) -> tuple[float, int]:
    """Return φ, and the number of quiet windows of about n events whose whole interval is above the fast threshold.

    Independent events are multinomial. φ of correlated ones is learned from 100 of the windows, as `infer` does.
    """
    rng = np.random.default_rng(20_261)
    base = rng.multinomial(false_alarms.TRAINED, SHAPES[shape])
    each = max(1, round(n / sum(runs)))
    counts = np.sum([length * rng.multinomial(each, SHAPES[shape], WINDOWS) for length in runs], axis=0)
    phi: NDArray[np.float64] = np.ones(1)
    if runs != (1,):
        _, df, t, _ = psi_values(base, counts[:100], [0])
        phi = learn_phi(t, df, counts[:100].sum(axis=1, keepdims=True)).value
    verdicts = psi_verdicts(base, counts, [0], phi=phi, thresholds=(0.1, MAJOR))
    return float(phi[0]), int((verdicts.low > FAST_RATIO * MAJOR).sum())


def test_golden_numbers_of_quiet_windows_that_page_alone() -> None:
    phi, pages = alone("rate of 0.001", RUNS["runs of 50"], 300)
    assert phi == 1.0, "the median window has no such event"
    assert pages == 62, "with fewer events than a window needs to page alone"
    assert alone("rate of 0.001", RUNS["runs of 50"], ALONE_EVENTS)[1] == 1


@pytest.mark.long
@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("shape", SHAPES)
def test_quiet_windows_do_not_page_alone(shape: str, runs: str) -> None:
    for n in (ALONE_EVENTS, 2 * ALONE_EVENTS, 10 * ALONE_EVENTS):
        _, pages = alone(shape, RUNS[runs], n)
        assert pages <= AT_MOST[runs], n


MARGIN = 0.05
"""The default of `thresholds.rates.major`."""


def beyond_margin(metric: str, labels: int, reference_size: int, margin: float = MARGIN) -> float:
    rng = np.random.default_rng([labels, reference_size])
    measure = false_alarms.errors_of_numbers if metric == "mae" else false_alarms.measured
    window, reference = measure(rng, labels)[metric], measure(rng, labels * reference_size)[metric]
    change = difference(window, reference)
    if metric in ("accuracy", "auc"):
        is_beyond = -change.high > margin
    else:
        is_beyond = change.low / np.abs(reference.value) > RELATIVE_MARGIN * margin
    return float(np.mean(is_beyond & window.enough & change.enough))


@pytest.mark.parametrize("reference_size", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("labels", "most"),
    [
        (100, 0.005),
        *(pytest.param(*case, marks=pytest.mark.long) for case in ((50, 0.005), (200, 0.002), (500, 0.0), (5000, 0.0))),
    ],
)
def test_quiet_weeks_are_not_beyond_the_margin(labels: int, most: float, reference_size: int) -> None:
    for metric in ("accuracy", "auc", "log_loss", "mae"):
        assert beyond_margin(metric, labels, reference_size) <= most, metric
    for metric in ("accuracy", "auc", "mae"):
        large = beyond_margin(metric, labels, reference_size, LARGE_DROP_RATIO * MARGIN)
        assert large <= (0.001 if labels == 50 else 0), f"{metric}: a page"


TOLERANCE_HOURS = 1.5
"""One hop, and the error of a quantile of 400 runs."""
ENOUGH = ((500, 1), (5_000, 1), (5_000, 30), (100_000, 300))
"""Traffic with at least 150 independent events in a window; with fewer, predictions are up to two hours off."""


@pytest.mark.parametrize(
    ("events", "phi"), [ENOUGH[0], *(pytest.param(*each, marks=pytest.mark.long) for each in ENOUGH[1:])]
)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name.replace(" ", "-"))
def test_the_prediction_is_within_a_hop(change: Change, events: int, phi: int) -> None:
    predicted = predicted_hours(change, events, phi)
    hours = np.quantile(simulated_hours(change, events, phi, np.random.default_rng(22)), QUANTILES, method="lower")
    compared = [(p, s) for p, s in zip(predicted, hours, strict=True) if math.isfinite(p)]
    assert compared
    assert all(abs(p - s) <= TOLERANCE_HOURS for p, s in compared), (predicted, hours)


def test_what_is_predicted_never_to_be_detected_seldom_is() -> None:
    small = CHANGES[0]
    assert predicted_hours(small, 50, 1)[1] == math.inf
    hours = simulated_hours(small, 50, 1, np.random.default_rng(22))
    assert (hours <= 24).mean() < 0.5
