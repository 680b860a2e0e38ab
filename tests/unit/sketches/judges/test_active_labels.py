"""Rates of faults from labels of doubtful answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from barograph_server.sketches.judges.active_labels import active_rate, sampling_probabilities
from barograph_server.sketches.judges.fault_rate import RATE_REASON_NAMES

SCORES = [0.1, 0.2, 0.5, 0.9, 0.4, 0.05, 0.6, 0.8, 0.3, 0.15]
Z = 1.959963984540054


def test_golden_rate() -> None:
    rate = active_rate(SCORES, [2, 3, 6], [1, 1, 0], [0.5, 0.25, 0.4])
    assert float(rate.value) == pytest.approx(0.39, abs=1e-9)
    assert float(rate.high - rate.value) / Z == pytest.approx(0.215870331449, abs=1e-9)
    assert float(rate.low) == 0.0
    assert RATE_REASON_NAMES[int(rate.reason)] == "little gold"


def test_probabilities_follow_the_doubt() -> None:
    doubt = np.sqrt(np.multiply(SCORES, np.subtract(1.0, SCORES)))
    np.testing.assert_allclose(sampling_probabilities(SCORES, 3.0), 0.3 * (0.5 + 0.5 * doubt / doubt.mean()))
    # A judge without doubt is labelled evenly.
    np.testing.assert_allclose(sampling_probabilities([0.0, 1.0, 1.0, 0.0], 2.0), 0.5)


@given(arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats(0.0, 1.0)), st.floats(0.01, 100.0))
@settings(max_examples=50)
def test_every_answer_can_be_labelled_within_the_budget(scores: np.ndarray, budget: float) -> None:
    probabilities = sampling_probabilities(scores, budget)
    assert np.all((probabilities > 0.0) & (probabilities <= 1.0))
    assert probabilities.sum() <= budget * (1.0 + 1e-9)
    assert np.all(probabilities >= min(1.0, 0.5 * budget / len(scores)) * (1.0 - 1e-9))


def test_the_estimate_is_unbiased_over_all_samples() -> None:
    """The mean over every possible sample, weighted by its probability, is the rate, however wrong the judge is."""
    scores, labels = np.array([0.9, 0.1, 0.5, 0.0]), np.array([0, 1, 1, 0])
    pi = sampling_probabilities(scores, 2.0)
    total = 0.0
    for number in range(16):
        drawn = np.array([number >> i & 1 for i in range(4)], np.bool_)
        g = scores + drawn / pi * (labels - scores)
        total += np.prod(np.where(drawn, pi, 1.0 - pi)) * g.mean()
        result = active_rate(scores, np.flatnonzero(drawn), labels[drawn], pi[drawn])
        assert float(result.value) == pytest.approx(np.clip(g.mean(), 0.0, 1.0), abs=1e-12)
    assert total == pytest.approx(0.5, abs=1e-12)


def test_wrong_labels_and_scores_are_rejected() -> None:
    for labelled, labels, probabilities, text in (
        ([1, 2], [1.0], [0.5, 0.5], "one shape"),
        ([10], [1.0], [0.5], "between 0 and 9"),
        ([1, 1], [1.0, 0.0], [0.5, 0.5], "labelled twice"),
        ([1], [0.5], [0.5], "labels must be"),
        ([1], [1.0], [0.0], "π must be above 0"),
    ):
        with pytest.raises(ValueError, match=text):
            active_rate(SCORES, labelled, labels, probabilities)
    with pytest.raises(ValueError, match="two judged answers"):
        active_rate([0.5], [], [], [])
    for scores, budget, text in (([0.5, 1.5], 1.0, "probabilities between 0 and 1"), ([0.5], 0.0, "budget")):
        with pytest.raises(ValueError, match=text):
            sampling_probabilities(scores, budget)
