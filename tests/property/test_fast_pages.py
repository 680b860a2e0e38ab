"""One window pages alone only for a large shift: the interval of a quiet window is hardly ever above the threshold.

Each cell has 10,000 windows without drift. Independent events are multinomial. Correlated ones repeat in runs, and φ is
learned from 100 of the windows, as `infer` does.
"""

from __future__ import annotations

import numpy as np
import pytest
from barograph.contract.alerts import FAST_RATIO
from numpy.typing import NDArray

from sketches.drift.overdispersion import learn_phi
from sketches.drift.psi import psi_values, psi_verdicts
from tests.reference.false_alarms import TAIL, TEN, TRAINED, ZIPF_BINS
from warehouse.signals.verdicts import ALONE_EVENTS

MAJOR = 0.2
WINDOWS = 10_000
RUNS = {"independent": (1,), "runs of 1 to 12": (1, 2, 5, 12), "runs of 5 to 30": (5, 10, 30), "runs of 50": (50,)}
"""Lengths of runs of equal events; a window has equally many runs of each length."""
AT_MOST = {"independent": 0, "runs of 1 to 12": 0, "runs of 5 to 30": 0, "runs of 50": 1}
"""Quiet windows that page alone: in the worst cell, ten runs of 50 events hold a category with a share of 0.1%."""
SHAPES = {
    **{"ten bins": TEN, "categories": ZIPF_BINS, "integers": TAIL},
    **{f"rate of {rate}": np.array([1 - rate, rate]) for rate in (0.5, 0.02, 0.001)},
}


def alone(shape: str, runs: tuple[int, ...], n: int) -> tuple[float, int]:
    """Return φ, and the number of quiet windows of about n events whose whole interval is above the fast threshold."""
    rng = np.random.default_rng(20_261)
    base = rng.multinomial(TRAINED, SHAPES[shape])
    each = max(1, round(n / sum(runs)))
    counts = np.sum([length * rng.multinomial(each, SHAPES[shape], WINDOWS) for length in runs], axis=0)
    phi: NDArray[np.float64] = np.ones(1)
    if runs != (1,):
        _, df, t, _ = psi_values(base, counts[:100], [0])
        phi = learn_phi(t, df, counts[:100].sum(axis=1, keepdims=True)).value
    verdicts = psi_verdicts(base, counts, [0], phi=phi, major=MAJOR)
    return float(phi[0]), int((verdicts.low > FAST_RATIO * MAJOR).sum())


@pytest.mark.slow
@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("shape", SHAPES)
def test_quiet_windows_do_not_page_alone(shape: str, runs: str) -> None:
    for n in (ALONE_EVENTS, 2 * ALONE_EVENTS, 10 * ALONE_EVENTS):
        phi, pages = alone(shape, RUNS[runs], n)
        print(f"{shape}, {runs}, {n} events: φ {phi:.1f}, {pages} of {WINDOWS}")
        assert pages <= AT_MOST[runs], n


def test_quiet_windows_with_fewer_events_would_page_alone() -> None:
    phi, pages = alone("rate of 0.001", RUNS["runs of 50"], 300)
    assert phi == 1.0, "the median window has no such event"
    assert pages == 62
