"""The onset of a change: golden values, coverage of the interval, and no onset without a change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import multinomial

from barograph_server.sketches.detection.onset import KAPPA, Onset, estimate_onset

BEFORE, AFTER = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.3, 0.3])


GOLDEN_ONSETS = (19, 0)


def test_the_estimate_equals_a_search_with_scipy() -> None:
    assert pytest.approx(7.353, abs=0.001) == KAPPA, "the published critical value"
    counts = np.array([[6, 3, 1], [5, 4, 1], [6, 2, 2], [1, 3, 6], [2, 1, 7], [0, 4, 6]])
    ratios = []
    for start in range(1, len(counts)):
        total = 0.0
        for part in (counts[:start], counts[start:]):
            sums = part.sum(axis=0)
            # The coefficient does not depend on the shares; without it, the likelihood of the sequence remains.
            log_coefficient = math.lgamma(sums.sum() + 1) - sum(math.lgamma(each + 1) for each in sums)
            total += float(multinomial.logpmf(sums, sums.sum(), sums / sums.sum())) - log_coefficient
        ratios.append(2 * total)
    best = int(np.argmax(ratios))
    inside = [index + 1 for index, ratio in enumerate(ratios) if ratios[best] - ratio <= KAPPA]
    assert estimate_onset(counts) == Onset(best + 1, inside[0], inside[-1])


def onsets(runs: int) -> tuple[int, int]:
    """How many intervals cover the onset, and how many unchanged series have one."""
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(runs):
        start = int(random.integers(50, 150))
        counts = np.array(
            [random.multinomial(random.poisson(30), BEFORE if pane < start else AFTER) for pane in range(200)]
        )
        onset = estimate_onset(counts)
        assert onset is not None
        covered += onset.low <= start <= onset.high
    random = np.random.default_rng(8)
    unchanged = [random.multinomial(30, BEFORE, size=200) for _ in range(runs)]
    return covered, sum(estimate_onset(each) is not None for each in unchanged)


def test_golden_onsets() -> None:
    assert onsets(20) == GOLDEN_ONSETS
    # Empty panes belong to the interval, and too few events have no onset.
    assert estimate_onset(np.array([[50, 0]] * 10 + [[0, 0]] * 5 + [[0, 50]] * 10)) == Onset(10, 10, 15)
    for counts in (np.zeros((5, 3), dtype=np.int64), np.ones((1, 3), dtype=np.int64)):
        assert estimate_onset(counts) is None


@pytest.mark.long
def test_the_interval_covers_the_onset_and_unchanged_panes_have_none() -> None:
    covered, false = onsets(300)
    assert covered >= 0.93 * 300
    assert false <= 2
