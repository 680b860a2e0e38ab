"""The hourly comparison of two arms: golden values, exact variances, and what it must not depend on."""

import itertools
from typing import Any

import numpy as np
import pytest

from barograph_server.sketches.rollout.arm_looks import LEAST_EVENTS, ArmLooks, arm_looks

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


def planted(effect: float = 0.3, buckets: int = 8, seed: int = 7) -> Sums:
    """Six hours of 200 events of 60 users, who stay in their arm and bucket."""
    rng = np.random.default_rng(seed)
    hour = np.repeat(np.arange(6), 200)
    user = rng.integers(0, 60, len(hour))
    arm, bucket = (user % 2).astype(np.int64), (user // 2 % buckets).astype(np.int64)
    values = hour * 0.5 + rng.standard_normal(60)[user] * 0.2 + rng.standard_normal(len(hour)) + effect * arm
    return sums_of(hour, arm, bucket, values, 6, buckets)


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
    right: dict[str, Any] = {
        "events": np.ones((4, 2, 1)),
        "sums": np.ones((4, 2, 1)),
        "squares": np.ones((4, 2)),
        "by_unit": False,
    }
    for wrong, message in (
        ({"events": np.ones((3, 2, 1))}, "one shape|need the shape"),
        ({"squares": np.ones((4, 2, 1))}, "need the shape"),
        ({"by_unit": True}, "two buckets or more"),
        ({"events": -np.ones((4, 2, 1))}, "negative"),
    ):
        with pytest.raises(ValueError, match=message):
            arm_looks(**right | wrong)
