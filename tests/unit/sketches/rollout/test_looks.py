import dataclasses
import itertools
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import ShadowTest

from barograph_server.sketches.rollout import planned_auc as planned
from barograph_server.sketches.rollout.arm_looks import LEAST_EVENTS, ArmLooks, arm_looks
from barograph_server.sketches.rollout.decision import AucDays, Criterion, Outcome, decide
from barograph_server.sketches.rollout.looks import decide_at, look_days
from barograph_server.sketches.rollout.planned_auc import auc_difference, look_bounds, planned_auc
from barograph_server.sketches.rollout.shadow_days import COUNTED, ShadowDays
from tests.support.performance import score_histogram

SHADOW = ShadowTest(candidate="4", of="3", margins={"accuracy": 0.02, "missing": 0.1})
NAMES = tuple(f"2026-05-{day:02}" for day in range(1, 32))


def days(name: str, n: int = 31, **changes: Any) -> ShadowDays:
    rng = np.random.default_rng(1)
    sums = {column: np.zeros(n) for column in COUNTED}
    sums |= {column: np.full(n, 200.0) for column in ("requests", "pairs", "labelled", "compared")}
    sums |= {column: rng.poisson(20, 31)[:n].astype(np.float64) for column in ("candidate_right", "primary_right")}
    sums |= changes.pop("sums", {})
    missing = changes.pop("missing", {"timeout": np.ones(n)})
    return ShadowDays(name, NAMES[:n], np.ones(n, bool), np.ones(n, bool), sums, missing)


def test_a_look_depends_only_on_the_days_up_to_it() -> None:
    before = look_days(SHADOW, "basis", [days("all", 20), days("country=de", 20)])
    after = look_days(SHADOW, "basis", [days("all"), days("country=de")])
    assert after[:20] == before
    assert [each.day for each in after] == list(NAMES)
    assert len({each.inputs for each in after}) == 31
    early = decide_at(SHADOW, [days("all"), days("country=de")], NAMES[19])
    alone = decide_at(SHADOW, [days("all", 20), days("country=de", 20)], NAMES[19])
    assert repr(early) == repr(alone)


def test_a_change_of_a_day_changes_its_look_and_later_ones() -> None:
    usual = look_days(SHADOW, "basis", [days("all"), days("country=de")])
    labels = days("country=de")
    labels.sums["labelled"][9] += 1
    changed = look_days(SHADOW, "basis", [days("all"), labels])
    assert [each == own for each, own in zip(changed, usual, strict=True)] == [True] * 9 + [False] * 22
    late = days("all")
    late.mature[-1] = False
    assert [each == own for each, own in zip(look_days(SHADOW, "basis", [late]), usual, strict=True)][-1:] == [False]


def test_the_contract_the_rules_and_the_names_of_values_are_inputs() -> None:
    usual = look_days(SHADOW, "basis", [days("all")])
    for other in (days("all", missing={"error": np.ones(31)}), days("other")):
        slices = [days("all", sums={"requests": np.zeros(31)}), other] if other.slice != "all" else [other]
        assert not set(look_days(SHADOW, "basis", slices)) & set(usual)
    wider = msgspec.structs.replace(SHADOW, margins={"accuracy": 0.03, "missing": 0.1})
    assert not set(look_days(wider, "basis", [days("all")])) & set(usual)
    assert not set(look_days(SHADOW, "other", [days("all")])) & set(usual)


def test_days_that_only_a_slice_has_are_part_of_later_looks() -> None:
    whole = days("all", 20)
    part = days("country=de", 20)
    gap = dataclasses.replace(part, days=("2026-04-30", *part.days[1:]))
    looks = look_days(SHADOW, "basis", [whole, gap])
    assert [each.day for each in looks] == list(NAMES[:20])
    assert not set(looks) & set(look_days(SHADOW, "basis", [whole, part]))


Array = np.ndarray[Any, np.dtype[Any]]
Sums = tuple[Array, Array, Array]
GOLDEN_EVENTS = [0.2973526765065608, 0.10801186624565912, 0.48669348676746244, 297.86]
GOLDEN_UNITS = [0.2973526765065608, -0.01519244287973992, 0.6098977958928615, 156.8139200138044]
"""Difference, low, high and t of `planted`, checked with loops over single events and users."""


def sums_of(hour: Array, arm: Array, bucket: Array, values: Array, hours: int, buckets: int) -> Sums:
    shape = (hours, 2, buckets)
    position = (hour * 2 + arm) * buckets + bucket
    n, s, q = (
        np.bincount(position, each, minlength=int(np.prod(shape))).reshape(shape)
        for each in (np.ones(len(values)), values, values**2)
    )
    return n, s, q.sum(axis=-1)


def planted(effect: float = 0.3) -> Sums:
    """Six hours of 200 events of 60 users, who stay in their arm and one of eight buckets."""
    rng = np.random.default_rng(7)
    hour = np.repeat(np.arange(6), 200)
    user = rng.integers(0, 60, len(hour))
    arm, bucket = (user % 2).astype(np.int64), (user // 2 % 8).astype(np.int64)
    values = hour * 0.5 + rng.standard_normal(60)[user] * 0.2 + rng.standard_normal(len(hour)) + effect * arm
    return sums_of(hour, arm, bucket, values, 6, 8)


def merged(sums: Sums) -> Sums:
    """The same events, each as a unit of its own."""
    return sums[0].sum(axis=-1, keepdims=True), sums[1].sum(axis=-1, keepdims=True), sums[2]


def last(looks: ArmLooks) -> list[float]:
    return [float(each[-1]) for each in (looks.difference, looks.low, looks.high, looks.differences)]


def test_golden_values() -> None:
    by_event = arm_looks(*merged(planted()), by_unit=False)
    by_unit = arm_looks(*planted(), by_unit=True)
    assert last(by_event) == pytest.approx(GOLDEN_EVENTS, rel=1e-9)
    assert last(by_unit) == pytest.approx(GOLDEN_UNITS, rel=1e-9)
    assert by_event.enough.tolist() == [False, False, True, True, True, True]
    # A smaller level is wider.
    smaller = arm_looks(*merged(planted()), by_unit=False, alpha=0.05 / 6)
    assert smaller.low[-1] < by_event.low[-1] < by_event.high[-1] < smaller.high[-1]


def test_the_variance_is_that_of_all_assignments() -> None:
    """Of eight events in two hours, over all assignments: the mean of the estimate is the exact variance of D."""
    rng = np.random.default_rng(1)
    hour = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    values = rng.standard_normal(8) + hour
    numerators, estimates = [], []
    for assignment in itertools.product((0, 1), repeat=8):
        arm = np.array(assignment)
        n, s, _ = sums_of(hour, arm, np.zeros(8, np.int64), values, 2, 1)
        both = n.sum(axis=(1, 2))
        mean = s.sum(axis=(1, 2)) / both
        numerators.append(float(np.sum(s[:, 1, 0] - n[:, 1, 0] * mean)))
        # Residuals around the mean of both arms: the case without any effect, which the estimate includes at δ = 0.
        weight = n[:, 0, 0] * n[:, 1, 0] / both
        square = np.bincount(hour, (values - mean[hour]) ** 2)
        estimates.append(float(np.sum(weight / (both - 1.0) * square)))
    assert np.mean(numerators) == pytest.approx(0.0, abs=1e-12)
    assert np.mean(estimates) == pytest.approx(np.var(numerators), rel=1e-12)


def test_a_rhythm_of_the_day_does_not_count() -> None:
    n, s, q = merged(planted())
    shift = np.array([0.0, 100.0, -50.0, 3.0, 8.0, -1.0])[:, None, None]
    moved = (n, s + shift * n, q + (2 * shift * s + shift**2 * n)[..., 0])
    assert last(arm_looks(*moved, by_unit=False)) == pytest.approx(last(arm_looks(*merged(planted()), by_unit=False)))


def test_returning_users_widen_the_interval() -> None:
    """Every event ten times over, by the same users: nothing new is known by unit."""
    n, s, q = planted()
    once = arm_looks(n, s, q, by_unit=True)
    ten_times = arm_looks(10 * n, 10 * s, 10 * q, by_unit=True)
    assert ten_times.difference[-1] == pytest.approx(once.difference[-1])
    assert ten_times.high[-1] - ten_times.low[-1] >= 0.95 * (once.high[-1] - once.low[-1])
    by_event = arm_looks(*merged((10 * n, 10 * s, 10 * q)), by_unit=False)
    assert by_event.high[-1] - by_event.low[-1] < 0.5 * (once.high[-1] - once.low[-1])


def test_one_user_or_a_small_control_without_errors_is_no_harm() -> None:
    n, s, q = planted(effect=0.0)
    # One user makes most requests.
    s[:, 1, 3] += 50.0 * n[:, 1, 3]
    q[:, 1] += 2500.0 * n[:, 1, 3]
    looks = arm_looks(n, s, q, by_unit=True)
    assert looks.difference[-1] > 3.0
    assert looks.low[-1] < 0.0
    # The variance of a control without errors is 0; one variance for both arms is not.
    events = np.array([[100.0, 900.0]] * 4)[..., None]
    errors = np.array([[0.0, 5.0]] * 4)[..., None]
    looks = arm_looks(events, errors, errors[..., 0], by_unit=False)
    assert bool(looks.enough[-1])
    assert looks.low[-1] < 0.0 < looks.difference[-1]


def test_what_is_not_enough() -> None:
    n, s, q = merged(planted())
    few = arm_looks(n, s, q, by_unit=False, least_events=10_000)
    assert not few.enough.any()
    assert np.all(np.isneginf(few.low))
    assert np.all(np.isposinf(few.high))
    constant = arm_looks(n, 2.0 * n, 4.0 * n[..., 0], by_unit=False)
    assert not constant.enough.any()
    assert arm_looks(n[:2], s[:2], q[:2], by_unit=False, least_events=1).enough.tolist() == [False, False]
    one_arm = n * np.array([1.0, 0.0])[:, None]
    assert np.all(np.isnan(arm_looks(one_arm, one_arm, one_arm[..., 0], by_unit=False).difference))
    assert LEAST_EVENTS == 200


def test_malformed_sums_are_rejected() -> None:
    ones = np.ones((4, 2, 1))
    right: dict[str, Any] = {"events": ones, "sums": ones, "squares": ones[..., 0], "by_unit": False}
    for wrong, message in (
        ({"events": ones[1:]}, "one shape|need the shape"),
        ({"squares": ones}, "need the shape"),
        ({"by_unit": True}, "two buckets or more"),
        ({"events": -ones}, "negative"),
    ):
        with pytest.raises(ValueError, match=message):
            arm_looks(**right | wrong)


BOUNDS = [4.87688494879, 3.35701192157, 2.68028006454, 2.28981676771, 2.03103204331]


def days_of_auc(t: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return histograms of both sides; the candidate's scores of positives are moved by `shift` bins more."""
    rng = np.random.default_rng(1)
    sides = np.zeros((2, t, 60, 3))
    for day in range(t):
        for positive in (0, 1):
            primary = rng.normal(25.0 + 6.0 * positive, 5.0, 300)
            candidate = primary + rng.normal(shift * positive, 2.0, 300)
            for side, values in enumerate((primary, candidate)):
                np.add.at(sides[side, day], np.clip(values, 0, 59).astype(int), [1.0, 0.0, float(positive)])
    return sides[0], sides[1]


def test_looks_are_planned_and_not_before_the_burn_in() -> None:
    for days_planned, looks in (
        (140, [28, 56, 84, 112, 140]),
        (60, [36, 48, 60]),
        (28, [28]),
        (151, [31, 61, 91, 121, 151]),
    ):
        assert planned.planned_days(days_planned) == looks
    # Equal ranks leave the loss of days that have not occurred.
    primary, _ = days_of_auc(60)
    newest = planned_auc(primary, primary, 140, worst_day=0.05)
    assert (newest.days, newest.half) == (56, planned.unseen_loss(56, 0.05))
    primary[..., 2] = 0.0
    assert planned_auc(primary, primary, 140).half == math.inf


def test_a_look_has_the_golden_bound_and_stays_until_the_next_one() -> None:
    primary, candidate = days_of_auc(140)
    before = planned_auc(*days_of_auc(27), 140)
    assert (before.days, before.next_days, before.half) == (0, 28, math.inf)
    assert math.isnan(before.value)
    for number, t in enumerate((28, 56, 84, 112, 140)):
        result = auc_difference(primary[:t], candidate[:t])
        error = math.sqrt(float(result.variance * result.kappa))
        for now in (t, min(t + 27, 140)):
            newest = planned_auc(primary[:now], candidate[:now], 140)
            assert (newest.days, newest.next_days) == (t, None if t == 140 else t + 28)
            assert newest.value == float(result.difference)
            assert newest.half / error == pytest.approx(BOUNDS[number], abs=1e-9)


def decided(t: int, shift: float, margin: float = 0.02, least: int = 28) -> tuple[Outcome, AucDays]:
    data = AucDays(Criterion("auc", margin, 0.1, least), *days_of_auc(t, shift), 140)
    return decide([data]).outcome, data


def test_decisions_change_only_at_looks() -> None:
    assert [decided(t, 1.0)[0] for t in (27, 28, 55, 56)] == [Outcome.insufficient, *3 * [Outcome.promote]]
    assert [decided(t, 1.0, least=40)[0] for t in (28, 55, 56)] == [*2 * [Outcome.insufficient], Outcome.promote]
    assert decided(112, -3.0)[0] == Outcome.hold


def test_days_that_are_too_alike_wait_for_a_later_look() -> None:
    primary, candidate = (np.repeat(each[:8], 7, axis=0) for each in days_of_auc(140))
    (verdict,) = decide([AucDays(Criterion("auc", 0.02), primary, candidate, 280)]).criteria
    assert (verdict.too_alike, verdict.is_met, verdict.look_days) == (True, False, 56)
    assert verdict.low == -math.inf
    assert 56 + verdict.days_left >= 6 * verdict.kappa


def test_the_verdict_names_the_next_look() -> None:
    (verdict,) = decide([decided(60, 0.0, margin=0.0005)[1]]).criteria
    assert (verdict.days, verdict.look_days, verdict.next_look) == (60, 56, 84)
    assert not verdict.is_met
    # 0.0005 of 0.1 needs more than 140 days.
    assert (verdict.least_days, verdict.days_left) == (598, math.inf)
    (verdict,) = decide([decided(20, 0.0, margin=0.02, least=30)[1]]).criteria
    assert (verdict.least_days, verdict.days_left) == (56, 36)
    assert (verdict.low, verdict.high) == (-math.inf, math.inf)
    # Days without labelled rows are no days.
    primary, candidate = days_of_auc(30)
    primary[[3, 5]] = candidate[[3, 5]] = 0.0
    (verdict,) = decide([AucDays(Criterion("auc", 0.05), primary, candidate, 140)]).criteria
    assert (verdict.days, verdict.look_days) == (28, 28)


def test_golden_bounds() -> None:
    for bounds in (BOUNDS, [3.71030287326, 2.51142748127, 1.99304747761], [1.959963984540054]):
        looks = np.arange(1, len(bounds) + 1) / len(bounds)
        np.testing.assert_allclose(look_bounds(looks), bounds, rtol=0, atol=1e-9)
    for shares, alpha in (([], 0.05), ([0.0, 1.0], 0.05), ([1.0], 0.0)):
        with pytest.raises(ValueError):
            look_bounds(shares, alpha)


def test_uneven_looks_keep_the_error_rate() -> None:
    shares = np.array([0.3, 0.35, 1.0])
    steps = np.random.default_rng(5).standard_normal((200_000, 3)) * np.sqrt(np.diff(shares, prepend=0.0))
    z = steps.cumsum(axis=1) / np.sqrt(shares)
    crossed = (np.abs(z) > look_bounds(shares)).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=0.002)


LABELS = np.array([0, 0, 1, 1, 1, 0, 1, 0], np.bool_)
EDGES = np.linspace(0.05, 0.95, 19)


def histograms(scores: np.ndarray, days_of_auc: list[np.ndarray]) -> np.ndarray:
    return np.stack([score_histogram(scores[day], EDGES, LABELS[day]) for day in days_of_auc])


def test_golden_variance_of_two_days() -> None:
    others = np.array([0.3, 0.2, 0.6, 0.7, 0.4, 0.5, 0.8, 0.1])
    ours = np.array([0.1, 0.4, 0.35, 0.8, 0.7, 0.2, 0.9, 0.6])
    four_and_four = [np.arange(4), np.arange(4, 8)]
    a, b = histograms(ours, four_and_four), histograms(others, four_and_four)
    result = auc_difference(a, b)
    assert float(result.primary) == pytest.approx(0.875, abs=1e-9)
    assert float(result.candidate) == pytest.approx(0.9375, abs=1e-9)
    assert float(result.variance) == pytest.approx(0.0625, abs=1e-9)
    # Comparisons are separate.
    both = np.stack([a, b])
    assert auc_difference(both, both[::-1]).difference.tolist() == pytest.approx([0.0625, -0.0625], abs=1e-12)
    same = auc_difference(a, a)  # equal models have no variance, and without a class there is no AUC
    assert float(same.difference) == 0.0
    assert np.isnan(same.z)
    a[..., 2] = 0.0
    assert np.isnan(auc_difference(a, a).difference)
    with pytest.raises(ValueError, match="same labelled rows"):
        auc_difference(both[0], histograms(ours, [np.arange(3), np.arange(3, 8)]))
    with pytest.raises(ValueError, match="histograms"):
        auc_difference(histograms(ours, four_and_four[:1]), histograms(others, four_and_four[:1]))
