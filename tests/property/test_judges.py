import numpy as np
import pytest

from tests.reference import judged_answers
from tests.reference.anchors import PAIRINGS, RATES, SOON, first_tickets
from tests.reference.anchors import RUNS as ANCHOR_RUNS
from tests.reference.judges import ALL_CELLS, CELLS, ONE_SIDED, SYMMETRIC, Cell, LabelCell, coverage, label_coverage


def test_a_few_intervals_cover_and_judges_without_drift_are_hardly_reported() -> None:
    results = coverage(CELLS[0], 40)
    assert min(results[name].coverage for name in ("gold alone", "strata")) >= 0.85
    assert results["strata"].width < 0.95 * results["gold alone"].width
    quiet, worse = (first_tickets("usual", 0.9, drop, judges=100) for drop in (0.0, 0.05))
    assert not (quiet <= ANCHOR_RUNS).any()
    assert (worse <= SOON).all()


@pytest.mark.long
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_the_intervals_of_the_product_cover_the_rate(cell: Cell) -> None:
    """The lowest coverage is near 92 %; with 2,000 runs its standard error is 0.6 points."""
    assert coverage(cell, seed=64)["strata"].coverage >= 0.91


@pytest.mark.parametrize("cell", SYMMETRIC[1:6:4])
def test_the_rate_covers_although_people_err(cell: LabelCell) -> None:
    """Labels that count as truth cover in 1 and 11 %."""
    results = label_coverage(cell, 150)
    assert results["truth"].coverage < 0.3
    assert results["allowed"].coverage >= 0.93
    one = label_coverage(cell._replace(reviewers=1), 20)
    assert one["allowed"] == one["truth"]


@pytest.mark.long
@pytest.mark.parametrize("cell", SYMMETRIC + ONE_SIDED)
def test_the_rate_covers_for_all_errors_and_numbers_of_labels(cell: LabelCell) -> None:
    for changes in ({}, {"reviewers": 3}, {"twice": 50}, {"twice": 20}):
        assert label_coverage(cell._replace(**changes), 500)["allowed"].coverage >= 0.9, changes


@pytest.mark.parametrize("evaluator", [*judged_answers.JUDGES, judged_answers.CHECK])
def test_the_corrected_rate_covers_on_answers_of_a_real_model(evaluator: str) -> None:
    pairs = judged_answers.verdicts()[evaluator]
    result = judged_answers.coverage(pairs)
    assert result.answers == 186
    assert abs(result.raw - result.truth) > 0.05
    assert result.covered >= 0.93
    # Both outcomes are in the file: the file is not of answers that are all wrong.
    assert 0.1 < result.truth < 0.9


@pytest.mark.long
@pytest.mark.parametrize("rate", RATES)
def test_few_judges_without_drift_are_reported(rate: float) -> None:
    for kind in ("usual", "even"):
        assert np.mean(first_tickets(kind, rate, 0.0) <= ANCHOR_RUNS) <= 0.02
    # A run of the bank must not be used again.
    assert np.mean(first_tickets("even", 0.9, 0.0, pairing=PAIRINGS[1]) <= ANCHOR_RUNS) > 0.2


@pytest.mark.long
@pytest.mark.parametrize("rate", RATES)
def test_a_loss_of_5_percent_is_found_within_20_runs(rate: float) -> None:
    assert np.mean(first_tickets("usual", rate, 0.05) <= SOON) >= 0.9
    # A judge whose verdicts vary much needs more anchors. The page states this limit: if this fails, the method has
    # become better than the page says.
    detected = np.mean(first_tickets("even", rate, 0.05, anchors=250 if rate == 0.8 else 100) <= SOON)
    assert detected >= 0.9 if rate > 0.7 else detected < 0.5
