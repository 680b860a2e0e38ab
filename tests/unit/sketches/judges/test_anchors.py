"""Drift of judges on frozen anchors."""

import math

import numpy as np
import pytest

from barograph_server.sketches.judges.anchors import anchor_drift


def test_evidence_of_a_few_anchors_by_hand() -> None:
    # One lost anchor: the mean of 2 * 0.56, 2 * 0.62 and 2 * 0.8; then one gained: the mean of 4 θ (1 − θ).
    drift = anchor_drift([1, 0], [0, 1])
    assert math.exp(drift.log_e[0]) == pytest.approx((1.12 + 1.24 + 1.6) / 3)
    assert math.exp(drift.log_e[1]) == pytest.approx(4 * (0.56 * 0.44 + 0.62 * 0.38 + 0.8 * 0.2) / 3)
    assert not drift.has_drifted.any()


def test_without_drift_the_mean_of_e_is_1() -> None:
    """E after one run with n different verdicts is a test martingale: its mean over all outcomes is exactly 1."""
    for n in (0, 1, 5, 30):
        lost = np.arange(n + 1)
        weights = np.array([math.comb(n, k) for k in lost]) / 2.0**n
        log_e = anchor_drift(lost[:, None], (n - lost)[:, None]).log_e[:, 0]
        assert float(weights @ np.exp(log_e)) == pytest.approx(1.0)


def test_a_judge_that_became_worse_has_drifted_and_stays_so() -> None:
    lost, gained = [9] * 20 + [0] * 20, [2] * 20 + [9] * 20
    drift = anchor_drift(lost, gained)
    first = int(np.argmax(drift.has_drifted))
    assert 0 < first < 10
    assert drift.has_drifted[first:].all()
    assert drift.log_e[first] >= math.log(50.0) > drift.log_e[-1]
    # A better judge has not.
    assert not anchor_drift([2] * 60, [9] * 60).has_drifted.any()


def test_wrong_numbers_are_rejected() -> None:
    for lost, gained, text in (
        ([1, 2], [1], "the same shape"),
        ([-1], [1], "numbers of anchors"),
        ([1], [np.nan], "numbers of anchors"),
    ):
        with pytest.raises(ValueError, match=text):
            anchor_drift(lost, gained)
