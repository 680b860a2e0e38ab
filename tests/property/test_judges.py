"""Coverage of the intervals of judges, compared with an independent simulation, and how soon their drift is found."""

import numpy as np
import pytest

from tests.reference import judged_answers
from tests.reference.anchors import PAIRINGS, RATES, SOON, first_tickets
from tests.reference.anchors import RUNS as ANCHOR_RUNS
from tests.reference.judges import ALL_CELLS, CELLS, Cell, coverage

RUNS = 1000
NAMES = ("gold alone", "strata")
INDEPENDENT = (
    ((92, 0.101), (93, 0.094)),
    ((95, 0.034), (95, 0.031)),
    ((92, 0.101), (94, 0.101)),
    ((94, 0.065), (94, 0.064)),
    ((96, 0.065), (96, 0.058)),
    ((93, 0.034), (96, 0.030)),
    ((93, 0.119), (96, 0.096)),
    ((93, 0.119), (96, 0.096)),
    ((97, 0.170), (99, 0.127)),
    ((96, 0.068), (97, 0.046)),
    ((95, 0.177), (96, 0.136)),
    ((97, 0.103), (96, 0.070)),
    ((95, 0.246), (99, 0.159)),
)
"""Coverage in percent and median width of `NAMES`, for each of `CELLS`: 1,000 runs of another program."""
GOLDEN: dict[str, tuple[float, float]] = {
    "gold alone": (0.925, 0.1014151766247319),
    "strata": (0.85, 0.0949396421077589),
}
"""The same of the first cell, in 40 runs of our own."""
GOLDEN_TICKETS: list[int] = [0, 100]
"""Of 100 judges, those that are found without drift, and within 20 runs of a loss of 5 %."""


def test_golden_coverage_and_tickets() -> None:
    results = coverage(CELLS[0], 40)
    assert {name: (results[name].coverage, results[name].width) for name in NAMES} == {
        name: pytest.approx(golden, abs=1e-9) for name, golden in GOLDEN.items()
    }
    quiet, worse = (first_tickets("usual", 0.9, drop, judges=100) for drop in (0.0, 0.05))
    assert [int((quiet <= ANCHOR_RUNS).sum()), int((worse <= SOON).sum())] == GOLDEN_TICKETS


@pytest.mark.long
@pytest.mark.parametrize(("cell", "expected"), tuple(zip(CELLS, INDEPENDENT, strict=True)))
def test_coverage_is_that_of_an_independent_simulation(cell: Cell, expected: tuple[tuple[float, float], ...]) -> None:
    results = coverage(cell, RUNS)
    for name, (percent, width) in zip(NAMES, expected, strict=True):
        share = min(percent / 100, 0.99)
        error = 4.0 * np.sqrt(share * (1.0 - share) * 2 / RUNS) + 0.005
        assert results[name].coverage == pytest.approx(percent / 100, abs=error), name
        assert results[name].width == pytest.approx(width, rel=0.12), name


@pytest.mark.long
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_the_intervals_of_the_product_cover_the_rate(cell: Cell) -> None:
    """The lowest coverage is near 92 %; with 2,000 runs its standard error is 0.6 points."""
    assert coverage(cell, seed=64)["strata"].coverage >= 0.91


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
