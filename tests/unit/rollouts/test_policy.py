"""Policies: each requirement, and errors with their line."""

import dataclasses

import numpy as np
import pytest
from barograph.contract import ShadowTest
from barograph.contract.problems import ContractError
from barograph.events import ShadowReason

from barograph_server.rollouts.decision_text import REASON_TEXTS
from barograph_server.rollouts.policy import PromotionPolicy, parse_policy, unmet_requirements
from barograph_server.sketches.rollout.criteria import decision, missing_answers
from barograph_server.sketches.rollout.decision import ShadowDecision
from barograph_server.sketches.rollout.shadow_days import COUNTED, PLANNED, ShadowDays

SHADOW = ShadowTest(candidate="4", of="3", margins={"accuracy": 0.02, "missing": 0.1})


def made_days(n: int) -> ShadowDays:
    one = np.ones(n)
    sums = {name: 0 * one for name in COUNTED} | {"requests": 100 * one, "pairs": 95 * one, "labelled": 95 * one}
    missing = {"timeout": 3 * one, "skipped-sample": 2 * one}
    return ShadowDays("all", tuple(f"day {i}" for i in range(n)), one > 0, one > 0, sums, missing)


WHOLE = made_days(30)
DECISION = decision(SHADOW, [WHOLE])


def unmet(text: str, decided: ShadowDecision = DECISION) -> list[tuple[str, bool]]:
    result = unmet_requirements(parse_policy(text), SHADOW.margins, WHOLE, decided)
    return [(each.text, each.may_pass_later) for each in result]


def test_a_policy_that_is_met_has_no_unmet_requirement() -> None:
    text = "days: 30\ncriteria: {accuracy: 0.02}\nmissing_share: 0.031\nforbid_harmed_slices: true\n"
    assert unmet(text) == []
    assert parse_policy("{}") == PromotionPolicy()


def test_each_requirement_can_fail() -> None:
    assert unmet("days: 31") == [
        ("The policy requires 31 days; accuracy has 30.", True),
        ("The policy requires 31 days; missing has 30.", True),
    ]
    assert unmet("criteria: {accuracy: 0.019}") == [
        ("The policy allows accuracy a margin of at most 0.019; the contract states 0.02.", False)
    ]
    assert unmet("criteria: {latency: 0.1}") == [
        ("The policy requires the criterion latency: add it to `shadow.margins` of the contract.", False)
    ]
    # Requests outside the sample are none of the 98.
    assert unmet("missing_share: 0.03") == [
        ("The policy allows at most 3.00% of the requests without an answer of the candidate; 3.06% have none.", True)
    ]
    assert [may_pass_later for _, may_pass_later in unmet("missing_share: 0")] == [False]
    harmed = dataclasses.replace(DECISION, some_slice_harmed=True)
    ((text, may_pass_later),) = unmet("forbid_harmed_slices: true", harmed)
    assert "worse in some slice" in text
    assert not may_pass_later
    assert unmet("forbid_harmed_slices: false", harmed) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param("days: 28\ncriteria:\n  acuracy: 0.1\n", 3, "did you mean accuracy?", id="metric"),
        pytest.param("days: 28\nmargins: {}\n", 2, "the key 'margins' is unknown", id="key"),
        pytest.param("days: 28\ndrills: [nulls]\n", 2, "has no drills", id="drills"),
        pytest.param("days: [1\n", 2, "not YAML", id="yaml"),
    ],
)
def test_a_wrong_policy_is_an_error_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(ContractError) as error:
        parse_policy(text, "p.yaml")
    (problem,) = error.value.problems
    assert (problem.file, problem.line) == ("p.yaml", line)
    assert message in problem.message


def test_requests_outside_the_sample_and_failures_of_the_primary_are_no_failures_of_the_candidate() -> None:
    assert set(REASON_TEXTS) == {
        *(reason.removeprefix("shadow-") for reason in ShadowReason),
        *("primary-failed", "no-event", "error"),
    }
    one = np.ones(1)
    sums = {name: 0 * one for name in COUNTED} | {"requests": 100 * one}
    days = ShadowDays("all", ("2026-05-01",), one > 0, one > 0, sums, {reason: 3 * one for reason in REASON_TEXTS})
    failures, requests = missing_answers(days)
    assert requests == 100 - 3 * len(PLANNED)
    assert failures == -3 * (len(REASON_TEXTS) - len(PLANNED))
