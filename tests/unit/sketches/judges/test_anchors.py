"""Drift of judges on frozen anchors."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.judges.anchors import anchor_drift, changed_anchors, is_deterministic

BANK = [92, 91, 93, 90, 94]
NOW = [88, 89, 87, 90, 86]


def test_golden_evidence() -> None:
    drift = anchor_drift(BANK, NOW)
    assert drift.log_e[-1] == pytest.approx(0.991650822308, abs=1e-9)
    assert not drift.has_drifted.any()
    assert drift.runs_left == 0


def test_each_run_has_the_evidence_so_far() -> None:
    path = anchor_drift(BANK, NOW).log_e
    for count in range(1, 6):
        part = anchor_drift(BANK, NOW[:count])
        assert part.log_e[-1] == path[count - 1]
        assert part.runs_left == 5 - count


def test_a_judge_that_became_worse_has_drifted_and_stays_so() -> None:
    bank = np.tile([90.0, 92.0, 91.0, 89.0, 93.0], 6)
    runs = np.concatenate((bank[:20] - 9.0, bank[20:] + 40.0))
    drift = anchor_drift(bank, runs)
    first = int(np.argmax(drift.has_drifted))
    assert 0 < first < 20
    assert drift.has_drifted[first:].all()
    assert drift.log_e[first] >= np.log(20.0)
    assert drift.log_e[-1] < np.log(20.0)


def test_a_better_judge_has_not_drifted() -> None:
    bank = np.tile(BANK, 6)
    assert not anchor_drift(bank, bank + 8).has_drifted.any()


def test_a_constant_bank_is_scaled_by_half_an_anchor() -> None:
    same, one_less = anchor_drift([90] * 5, [90] * 5), anchor_drift([90] * 5, [89] * 5)
    assert not same.has_drifted.any()
    assert one_less.log_e[-1] == pytest.approx(anchor_drift([90] * 5, [89.0] * 5).log_e[-1])
    assert one_less.log_e[-1] > same.log_e[-1]


def test_many_judges_are_tested_at_once() -> None:
    drift = anchor_drift([BANK, BANK[::-1]], [NOW, NOW])
    assert drift.log_e.shape == (2, 5)
    assert drift.log_e[0, -1] == pytest.approx(0.991650822308, abs=1e-9)


@pytest.mark.parametrize(
    ("bank", "runs", "text"),
    [
        ([90] * 4, [90], "the bank has 4 runs"),
        (90, [90], "the bank has 0 runs"),
        ([90] * 5, [90] * 6, "each is used once"),
        ([90, 90, 90, 90, -1], [90], "right verdicts must be numbers"),
        ([90] * 5, [np.nan], "right verdicts must be numbers"),
    ],
)
def test_wrong_runs_are_rejected(bank: list[float], runs: list[float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        anchor_drift(bank, runs)


def test_a_deterministic_judge_drifts_with_one_verdict() -> None:
    bank = np.tile([1, 0, 1, 1], (3, 1))
    assert is_deterministic(bank)
    assert changed_anchors(bank[0], bank[0]).tolist() == []
    assert changed_anchors(bank[0], [1, 1, 1, 0]).tolist() == [1, 3]
    bank[2, 3] = 0
    assert not is_deterministic(bank)


def test_wrong_verdicts_are_rejected() -> None:
    with pytest.raises(ValueError, match="at least two runs"):
        is_deterministic([[1, 0]])
    with pytest.raises(ValueError, match="same anchors"):
        changed_anchors([1, 0], [1, 0, 1])
