import dataclasses
import math
import re
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from barograph.contract import Arms, ShadowTest
from barograph.contract.problems import ContractError
from barograph.events import ShadowReason

from barograph_server.rollouts.arm import decide_about_arm
from barograph_server.rollouts.decision_text import REASON_TEXTS
from barograph_server.rollouts.policy import PromotionPolicy, parse_policy, unmet_requirements
from barograph_server.rollouts.projected_cost import projected_cost
from barograph_server.rollouts.report import render_report
from barograph_server.sketches.baseline.levels import InsufficientReason, Level
from barograph_server.sketches.rollout.criteria import decision, missing_answers
from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.decision import Outcome, ShadowDecision
from barograph_server.sketches.rollout.shadow_days import COUNTED, PLANNED, ShadowDays
from barograph_server.warehouse.rollouts.arm_days import COUNTED as COUNTED_OF_ARMS
from barograph_server.warehouse.rollouts.arm_days import ArmDays
from barograph_server.warehouse.rollouts.arm_ratios import ArmRatio, ArmUnits
from barograph_server.warehouse.rollouts.pair_histograms import PairHistograms
from tests.support.candidate_evaluation import HISTOGRAMS, made_evaluation

SHADOW = ShadowTest(candidate="4", of="3", margins={"accuracy": 0.02, "missing": 0.1})
ONE = np.ones(30)
SUMS = {name: 0 * ONE for name in COUNTED} | {"requests": 100 * ONE, "pairs": 95 * ONE, "labelled": 95 * ONE}
MISSING = {"timeout": 3 * ONE, "skipped-sample": 2 * ONE}
WHOLE = ShadowDays("all", tuple(f"day {i}" for i in range(30)), ONE > 0, ONE > 0, SUMS, MISSING)
DECISION = decision(SHADOW, [WHOLE])


def unmet(text: str, decided: ShadowDecision = DECISION) -> list[tuple[str, bool]]:
    result = unmet_requirements(parse_policy(text), SHADOW.margins, WHOLE, decided)
    return [(each.text, each.may_pass_later) for each in result]


def test_each_requirement_of_a_policy_is_met_or_not() -> None:
    assert unmet("days: 30\ncriteria: {accuracy: 0.02}\nmissing_share: 0.031\nforbid_harmed_slices: true\n") == []
    assert parse_policy("{}") == PromotionPolicy()
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
    reasons = {reason.removeprefix("shadow-") for reason in ShadowReason}
    assert set(REASON_TEXTS) == {*reasons, "primary-failed", "no-event", "error"}
    one = ONE[:1]
    sums = {name: 0 * one for name in COUNTED} | {"requests": 100 * one}
    days = ShadowDays("all", ("2026-05-01",), one > 0, one > 0, sums, {reason: 3 * one for reason in REASON_TEXTS})
    failures, requests = missing_answers(days)
    assert requests == 100 - 3 * len(PLANNED)
    assert failures == -3 * (len(REASON_TEXTS) - len(PLANNED))


T = 40
COSTED = ShadowTest(candidate="4", of="3", margins={"cost": 0.1}, prices={"in": 0.01})


def costed_days(t: int = T) -> ShadowDays:
    spent = np.random.default_rng(3).normal(900.0, 20.0, t)
    ended = np.arange(t) < t - 1
    # The last day has not ended.
    counts = {"requests": np.where(ended, 400.0, 7.0), "costed": np.full(t, 100.0)}
    sums = dict.fromkeys(COUNTED, np.zeros(t)) | counts
    costs = {"spent_primary": {"in": np.full(t, 1_000.0)}, "spent_candidate": {"in": spent}}
    return ShadowDays("all", tuple(f"day {i}" for i in range(t)), ended, ended, sums, {}, **costs)


def test_costs_of_pairs_are_scaled_to_all_requests() -> None:
    days = costed_days()
    result = projected_cost(COSTED, days, raw_share=0.5)
    assert result is not None
    assert result.requests == 800.0
    assert result.primary == pytest.approx(8 * 10.0)
    spent = 0.01 * days.spent_candidate["in"][:-1]
    assert result.candidate == pytest.approx(8 * spent.mean())
    assert result.difference == pytest.approx(result.candidate - result.primary)
    interval = day_interval(spent - 10.0, 100.0)
    assert (result.low, result.high) == pytest.approx((800 * float(interval.low), 800 * float(interval.high)))
    assert result.low < result.difference < result.high < 0.0


def test_few_days_have_no_interval_and_no_pairs_no_cost() -> None:
    for t in (2, 10):
        few = projected_cost(COSTED, costed_days(t))
        assert few is not None
        assert (few.low, few.high) == (-np.inf, np.inf)
    assert projected_cost(COSTED, costed_days(1)) is None
    assert projected_cost(msgspec.structs.replace(COSTED, prices={"out": 1.0}), costed_days()) is None


def test_a_page_refers_to_nothing_and_escapes_every_name() -> None:
    page = render_report(made_evaluation(60), HISTOGRAMS)
    assert not re.search(r"<script|<link|<img|https?:|src=|href=|url\(", page)
    assert "candidate time-outs (2.00%)" in page
    for name in ("a & b", "<4>", "<b>DE</b>", "<reason>", "<Error>"):
        assert name not in page, name
    assert "country=&lt;b&gt;DE&lt;/b&gt;" in page
    assert page == render_report(made_evaluation(60), HISTOGRAMS), "the same sums give the same page"


def test_histograms_of_pairs_add_sections() -> None:
    evaluation = made_evaluation(40)
    page, plain = render_report(evaluation, HISTOGRAMS), render_report(evaluation)
    for text in (
        "<h2>Latency by hour of the day</h2>",
        '<td>23</td><td class="n">1,200</td><td class="n">20</td><td class="n">30</td><td class="n">80</td>'
        '<td class="n">130</td>',
        '<td>&lt;Error&gt;</td><td class="n">0 (0%)</td>',
        "<b>0.988</b>",
    ):
        assert text in page
        assert text not in plain
    assert render_report(evaluation, PairHistograms([], math.nan, {}, {})) == plain


MARGINS = {"accuracy": 0.03, "brier": 0.03, "latency": 0.2, "errors": 0.02}
ARMS = Arms(shares={"a": 0.5, "b": 0.5}, margins=MARGINS)
USERS = msgspec.structs.replace(ARMS, unit="context.user")
N = 400


def days_of(
    name: str = "all", *, days: int = 60, better: float = 0.0, buckets: int = 1, spread: float = 0.0
) -> ArmDays:
    """Days on which arm b is right more often by a share, with units whose mean accuracy varies."""
    rng = np.random.default_rng(len(name))
    shape = (days, 2, buckets)
    sums = {column: np.zeros(shape) for column in COUNTED_OF_ARMS}
    for column in ("predictions", "timed", "labelled", "scored"):
        sums[column][:] = N / buckets
    rate = 0.8 + rng.normal(0.0, spread, (1, 2, buckets)) + np.array([0.0, better])[:, None]
    sums["right"] = rng.binomial(round(N / buckets), rate.clip(0.0, 1.0), shape).astype(np.float64)
    sums["brier"] = 0.2 * sums["labelled"] + rng.normal(0.0, 1.0, shape)
    sums["log_latency"] = 3.0 * sums["timed"] + rng.normal(0.0, 1.0, shape)
    sums["failed"] = rng.binomial(round(N / buckets), 0.01, shape).astype(np.float64)
    over = np.ones(days, np.bool_)
    return ArmDays(name, tuple(f"d{i:03}" for i in range(days)), over, over.copy(), sums, (("3",), ("4",)))


def ratio(level: Level = Level.stable, units: int = 5_000) -> ArmRatio:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    arms = tuple(ArmUnits(arm, 0.5, units, 0, 0) for arm in ("a", "b"))
    p_value = 1.0 if level == Level.stable else 0.0004
    return ArmRatio("m", "prediction", at, at, arms, p_value, level, InsufficientReason.none)


def test_an_equal_arm_is_promoted_and_a_worse_one_held() -> None:
    decided = decide_about_arm(ARMS, [days_of()], "b", ratio())
    assert decided.outcome is Outcome.promote
    assert [each.criterion.name for each in decided.comparison.criteria] == list(MARGINS)
    assert all(each.days == 60 for each in decided.comparison.criteria)
    worse = decide_about_arm(ARMS, [days_of(better=-0.1)], "b", ratio())
    assert worse.outcome is Outcome.hold
    assert worse.comparison.criteria[0].value == pytest.approx(-0.1, abs=0.02)


def test_labelled_criteria_use_days_with_mature_labels() -> None:
    days = days_of()
    days.mature[40:] = False
    days.ended[-1] = False
    used = {each.criterion.name: each.days for each in decide_about_arm(ARMS, [days], "b", ratio()).comparison.criteria}
    assert used == {"accuracy": 40, "brier": 40, "latency": 59, "errors": 59}


@pytest.mark.parametrize("better", [0.0, 0.05, -0.05])
def test_the_unit_of_errors_does_not_change_the_decision(better: float) -> None:
    decided = []
    for scale in (0.001, 1.0, 1000.0):
        arms = msgspec.structs.replace(ARMS, margins={"mae": 0.03 * scale}, worst_day=0.5 * scale)
        slices = [days_of(name) for name in ("all", "country=de", "country=fr")]
        for each in slices:
            rng = np.random.default_rng(len(each.slice))
            mean = 1.0 - np.array([0.0, better])[:, None]
            each.sums["error"] = scale * N * (mean + rng.normal(0.0, 0.02, (60, 2, 1)))
        decided.append(decide_about_arm(arms, slices, "b", ratio()).comparison)
    evidence = [[each.log_evidence for each in of_scale.slices] for of_scale in decided]
    assert evidence[0] == pytest.approx(evidence[1])
    assert evidence[2] == pytest.approx(evidence[1])
    assert {each.outcome for each in decided} == {Outcome.hold if better < 0.0 else Outcome.promote}


def test_nothing_is_concluded_from_arms_of_other_shares() -> None:
    other = "other shares of units than the contract states (p = 0.0004)"
    unchecked = "has not been checked yet"
    for better in (0.0, -0.1):
        for check, text in ((None, unchecked), (ratio(Level.major), other), (ratio(Level.minor), other)):
            decided = decide_about_arm(ARMS, [days_of(better=better)], "b", check)
            assert decided.outcome is Outcome.insufficient
            assert text in decided.obstacles[0]


def test_the_contract_can_ask_for_more_days_and_units_must_be_many() -> None:
    decided = decide_about_arm(msgspec.structs.replace(ARMS, days=90), [days_of()], "b", ratio())
    assert decided.obstacles == ("60 of the 90 days that the contract asks for have both arms",)
    few = decide_about_arm(USERS, [days_of(buckets=8)], "b", ratio(units=99))
    assert few.obstacles == tuple(f"arm {arm} has 99 units, fewer than 100" for arm in "ab")
    assert decide_about_arm(ARMS, [days_of()], "b", ratio(units=99)).obstacles == ()


def test_units_that_differ_widen_the_interval() -> None:
    days = days_of(buckets=8, spread=0.05)
    alone, users = (decide_about_arm(arms, [days], "b", ratio()).comparison.criteria[0] for arms in (ARMS, USERS))
    assert alone.value == users.value
    assert users.high - users.low > 2 * (alone.high - alone.low)


def test_slices_are_judged_if_predictions_are_assigned_by_themselves() -> None:
    slices = [days_of(), days_of("country=de"), days_of("country=fr", better=-0.2)]
    decided = decide_about_arm(ARMS, slices, "b", ratio())
    assert [(each.name, each.criterion) for each in decided.comparison.harmed_slices] == [("country=fr", "accuracy")]
    assert decided.comparison.judged_slices == 2 * len(MARGINS)
    assert decide_about_arm(USERS, slices, "b", ratio()).comparison.judged_slices == 0
