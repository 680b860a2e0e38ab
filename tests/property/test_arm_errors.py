"""The daily comparison of two arms and the hourly one of prompts keep their error rates, also if units stay in an arm.

`python -m tests.reference.arm_errors` and `python -m tests.reference.prompt_arms` print what is measured.
"""

import numpy as np
import pytest

from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS
from tests.reference import arm_errors
from tests.reference.false_alarms import at_most
from tests.reference.prompt_arms import A_A, HARMFUL, Scenario, harm_hours
from tests.reference.prompt_arms import RUNS as PROMPT_RUNS
from tests.reference.shadow_errors import ALPHA

AT_MOST = at_most(ALPHA, arm_errors.RUNS)


@pytest.mark.long
@pytest.mark.parametrize("quality", arm_errors.QUALITIES)
@pytest.mark.parametrize("name", arm_errors.DRAWS)
def test_arms_of_one_model_are_rarely_found_different(name: str, quality: str) -> None:
    assert arm_errors.RUNS >= 500
    assert arm_errors.false_differences(arm_errors.rule_of(name), name, quality).mean() <= AT_MOST
    assert arm_errors.false_promotions(name, quality).mean() <= AT_MOST


@pytest.mark.long
@pytest.mark.parametrize("scenario", arm_errors.GENERATED, ids=str)
def test_few_users_who_make_most_requests_are_rarely_taken_for_a_difference(scenario: arm_errors.Users) -> None:
    assert arm_errors.generated_differences("**days and units**", scenario).mean() <= AT_MOST


@pytest.mark.long
@pytest.mark.parametrize("name", ["predictions", "units"])
def test_the_decision_rarely_holds_an_arm_of_the_same_model(name: str) -> None:
    looks = range(BURN_IN_DAYS, 154, 10)
    assert arm_errors.holds(name, looks).mean() <= AT_MOST


GOLDEN_HOURS: dict[str, list[int]] = {
    "time to first token +30 %": [4, 4, 4, 4],
    "tokens +20 %": [24, 23, 12, 7],
    "errors 1 % → 3 %": [11, 9, 11, 9],
}
"""Hours until a harmful prompt is found, in four runs."""


def test_golden_hours_until_a_prompt_is_proposed() -> None:
    """Equal prompts are seldom proposed: of 20 tests at 5 %, more than four have a probability below 0.3 %."""
    (equal,) = (scenario for scenario in A_A if scenario.name == "two days")
    assert np.count_nonzero(harm_hours(equal, runs=20)) <= 4
    assert {scenario.name: harm_hours(scenario, runs=4).tolist() for scenario in HARMFUL} == GOLDEN_HOURS


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", A_A, ids=[scenario.name for scenario in A_A])
def test_equal_prompts_are_proposed_in_less_than_one_test_of_twenty(scenario: Scenario) -> None:
    assert np.mean(harm_hours(scenario, PROMPT_RUNS) > 0) <= 0.05


@pytest.mark.long
@pytest.mark.parametrize(
    ("scenario", "most"), tuple(zip(HARMFUL, (8, 72, 72), strict=True)), ids=[each.name for each in HARMFUL]
)
def test_harm_is_found_within_hours(scenario: Scenario, most: int) -> None:
    hours = harm_hours(scenario, runs=20)
    assert np.all(hours > 0)
    assert np.median(hours) <= most / 2
    assert np.max(hours) <= 2 * most
