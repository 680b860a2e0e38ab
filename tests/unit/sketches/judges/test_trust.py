"""AUROC of evaluators against labels."""

import math

import numpy as np
import pytest

from barograph_server.sketches.judges.trust import FEW_LABELS, LEAST_LABELS, NO_BETTER, WORSE, score_trust

GOLDEN_TRUSTED = 1
"""Of 100 evaluators without a clue."""


def test_a_hand_computed_interval() -> None:
    # Sound: 1, 2, 3 beat 2, 2.5 and 3 of the faulty 0, 1, 2 by half counts for ties.
    trust = score_trust([1, 2, 3, 0, 1, 2], [True, True, True, False, False, False])
    auroc = (1.5 + 2.5 + 3) / 9
    assert (trust.faulty, trust.sound) == (3, 3)
    assert trust.auroc == pytest.approx(auroc)
    variance = 2 * np.var([1.5 / 3, 2.5 / 3, 3 / 3], ddof=1) / 3
    half = 1.959963984540054 * math.sqrt(variance) / (auroc * (1 - auroc))
    odds = math.log(auroc / (1 - auroc))
    assert trust.low == pytest.approx(1 / (1 + math.exp(half - odds)))
    assert trust.high == pytest.approx(1 / (1 + math.exp(-half - odds)))
    assert trust.reason == FEW_LABELS


def test_who_is_trusted() -> None:
    for n, shift, reason in (
        (200, 1.0, ""),
        (200, 0.0, NO_BETTER),
        (200, -1.0, WORSE),
        (LEAST_LABELS, 50.0, ""),
        (LEAST_LABELS - 1, 50.0, FEW_LABELS),
        (0, 0.0, FEW_LABELS),
    ):
        rng = np.random.default_rng(3)
        scores = np.concatenate([rng.normal(shift, 1.0, 300), rng.normal(0.0, 1.0, n)])
        trust = score_trust(scores, [True] * 300 + [False] * n)
        assert (trust.faulty, trust.sound, trust.reason) == (n, 300, reason)
        assert math.isnan(trust.auroc) == (n == 0)


def test_the_same_score_for_all_is_chance_and_wrong_arguments_are_errors() -> None:
    trust = score_trust([1.0] * 100, [True, False] * 50)
    assert (trust.auroc, trust.reason) == (0.5, NO_BETTER)
    assert trust.low < 0.5 < trust.high
    assert score_trust([], []).reason == FEW_LABELS
    with pytest.raises(ValueError, match="one label each"):
        score_trust([1.0, 2.0], [True])
    with pytest.raises(ValueError, match="must be numbers"):
        score_trust([1.0, math.nan], [True, False])


def trusted_by_chance(runs: int) -> int:
    rng = np.random.default_rng(11)
    is_sound = np.arange(120) >= LEAST_LABELS
    return sum(not score_trust(rng.normal(size=120), is_sound).reason for _ in range(runs))


def test_golden_number_of_evaluators_that_are_trusted_by_chance() -> None:
    assert trusted_by_chance(100) == GOLDEN_TRUSTED


@pytest.mark.long
def test_an_evaluator_without_a_clue_is_seldom_trusted() -> None:
    # 2.5 % of a 95 % interval, plus three standard errors and what a small sample adds.
    assert trusted_by_chance(2_000) / 2_000 < 0.045
