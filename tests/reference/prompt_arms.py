"""False proposals and power of the hourly comparison of prompts (`sketches.rollout.arm_looks`), with fixed seeds.

`python -m tests.reference.prompt_arms` prints the tables of docs/statistics.md in a few minutes;
`tests/property/test_arm_errors.py` checks them. A run of an A/A test is false if any hourly look excludes 0. Requests
follow a rhythm of the day, in number and in their means.
"""

import sys
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from barograph_server.sketches.rollout.arm_looks import ArmLooks, arm_looks

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Rng = np.random.Generator
RUNS = 500
BUCKETS = 64
ALPHA = 0.05
Number = Literal["log-time", "tokens", "heavy-tokens", "errors"]
SPREAD: dict[Number, float] = {"log-time": 0.6, "tokens": 1.0, "heavy-tokens": 1.5}
"""σ of ln(number) of one request."""
USER_SPREAD: dict[Number, float] = {"log-time": 0.3, "tokens": 0.5, "heavy-tokens": 0.8}
"""σ of a user's mean of it."""


@dataclass(frozen=True)
class Scenario:
    name: str
    number: Number
    hours: int = 168
    per_hour: float = 100.0
    share: float = 0.5
    """Share of the arm that is judged."""
    users: int = 0
    """Users, who stay in their arm; 0: each prediction is assigned by itself."""
    activity: float = 1.5
    """σ of the logarithm of a user's requests per hour."""
    new_each_day: bool = False
    """Whether other users come on each day."""
    rate: float = 0.005
    """Errors: their share."""
    harm: float = 0.0
    """Effect of the arm: added to ln(number), or to the share of errors."""


def draw_looks(scenario: Scenario, rng: Rng, alpha: float = ALPHA) -> ArmLooks:
    hours = np.arange(scenario.hours)
    rhythm = 1.0 + 0.8 * np.sin(2.0 * np.pi * hours / 24.0)
    shift = 0.3 * np.cos(2.0 * np.pi * hours / 24.0) + 0.2 * rng.standard_normal(len(hours))
    hour = np.repeat(hours, rng.poisson(scenario.per_hour * rhythm))
    n = len(hour)
    if scenario.users:
        activity = np.cumsum(np.exp(scenario.activity * rng.standard_normal(scenario.users)))
        user = np.searchsorted(activity / activity[-1], rng.random(n)).astype(np.int64)
        if scenario.new_each_day:
            user += hour // 24 * scenario.users
        pool = scenario.users * (scenario.hours // 24 + 1 if scenario.new_each_day else 1)
        arm = (rng.random(pool) < scenario.share)[user].astype(np.int64)
        bucket = rng.integers(BUCKETS, size=pool)[user]
        of_user = rng.standard_normal(pool)[user]
        buckets = BUCKETS
    else:
        arm, buckets = (rng.random(n) < scenario.share).astype(np.int64), 1
        bucket, of_user = np.zeros(n, np.int64), np.zeros(n)
    if scenario.number == "errors":
        odds = scenario.rate * np.exp(shift[hour] + 0.8 * of_user - 0.32 * (scenario.users > 0))
        values = (rng.random(n) < odds + scenario.harm * arm).astype(np.float64)
    else:
        spread, own = SPREAD[scenario.number], USER_SPREAD[scenario.number]
        values = 5.0 + shift[hour] + own * of_user + spread * rng.standard_normal(n) + scenario.harm * arm
        values = values if scenario.number == "log-time" else np.exp(values)
    position = (hour * 2 + arm) * buckets + bucket
    shape = (scenario.hours, 2, buckets)

    def total(weights: FloatArray | None) -> FloatArray:
        return np.bincount(position, weights, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)

    return arm_looks(
        total(None),
        total(values),
        total(values**2).sum(axis=-1),
        by_unit=bool(scenario.users),
        is_ratio=scenario.number in ("tokens", "heavy-tokens"),
        alpha=alpha,
    )


def harm_hours(scenario: Scenario, runs: int = RUNS, seed: int = 1, alpha: float = ALPHA) -> IntArray:
    """Return the hours until the first proposal of each run, of the shape (runs,); 0 if there is none."""
    rng = np.random.default_rng(seed)
    harms = (draw_looks(scenario, rng, alpha).low > 0.0 for _ in range(runs))
    return np.array([int(np.argmax(is_harm)) + 1 if is_harm.any() else 0 for is_harm in harms])


A_A = (
    Scenario("each prediction by itself", "log-time"),
    Scenario("tokens", "tokens"),
    Scenario("tokens, 10 % in the arm", "tokens", share=0.1, per_hour=300.0),
    Scenario("tokens, 90 % in the arm", "tokens", share=0.9, per_hour=300.0),
    Scenario("heavy-tailed tokens", "heavy-tokens"),
    Scenario("heavy-tailed tokens, 10 %", "heavy-tokens", share=0.1, per_hour=300.0),
    Scenario("heavy-tailed tokens, 90 %", "heavy-tokens", share=0.9, per_hour=300.0),
    Scenario("rare errors", "errors"),
    Scenario("rare errors, 10 %", "errors", share=0.1, per_hour=300.0),
    Scenario("rare errors, 90 %", "errors", share=0.9, per_hour=300.0),
    Scenario("two days", "log-time", hours=48),
    Scenario("two weeks, 10 requests an hour", "tokens", hours=336, per_hour=10.0),
    Scenario("two weeks, 1,000 requests an hour", "errors", hours=336, per_hour=1000.0),
    Scenario("returning users", "log-time", users=2000),
    Scenario("returning users, few", "log-time", users=300),
    Scenario("returning users, tokens", "tokens", users=2000),
    Scenario("returning users, tokens, 10 %", "tokens", users=2000, share=0.1, per_hour=300.0),
    Scenario("returning users, tokens, 90 %", "tokens", users=2000, share=0.9, per_hour=300.0),
    Scenario("returning users, heavy-tailed tokens", "heavy-tokens", users=2000, hours=336),
    Scenario("returning users, rare errors", "errors", users=2000),
    Scenario("returning users, rare errors, 10 %", "errors", users=2000, share=0.1, per_hour=300.0),
    Scenario("returning users, few requests", "log-time", users=500, per_hour=10.0, hours=336),
    Scenario("new users each day", "tokens", users=300, new_each_day=True),
)
"""Tests in which both arms have the same prompt."""

HARMFUL = (
    Scenario("time to first token +30 %", "log-time", harm=float(np.log(1.3))),
    Scenario("tokens +20 %", "tokens", harm=float(np.log(1.2))),
    Scenario("errors 1 % → 3 %", "errors", rate=0.01, harm=0.02),
)
"""Harm, at 100 requests an hour."""


def fixed_hours(scenario: Scenario, alpha: float = ALPHA, power: float = 0.8) -> float:
    """Return the hours of a test with one look at the end and equal arms: that of two means, one-sided at α/2."""
    if scenario.number == "errors":
        p, effect = scenario.rate, scenario.harm
        variance = p * (1 - p) + (p + effect) * (1 - p - effect)
    else:
        spread = SPREAD[scenario.number]
        is_time = scenario.number == "log-time"
        effect = scenario.harm if is_time else float(np.expm1(scenario.harm))
        each = spread**2 if is_time else float(np.expm1(spread**2))
        variance = each * 2 if is_time else each * (1 + (1 + effect) ** 2)
    z = stats.norm.isf(alpha / 2) + stats.norm.ppf(power)
    return float(z**2 * variance / effect**2 / (scenario.per_hour / 2))


def print_false_proposals(runs: int = RUNS) -> None:
    print(f"False proposals in {runs} runs, α = {ALPHA}, looked at every hour")
    for scenario in A_A:
        hours = harm_hours(scenario, runs)
        print(f"{scenario.name:45} {scenario.hours // 24:3} days {np.mean(hours > 0):7.3f}", flush=True)


def print_power(runs: int = RUNS) -> None:
    print("Hours until a proposal: median, 90 % of runs; one look with power 80 %")
    for scenario in HARMFUL:
        for alpha in (ALPHA, ALPHA / 6):
            for users in (0, 2000):
                each = replace(scenario, users=users)
                hours = harm_hours(each, runs, alpha=alpha)
                ordered = np.sort(np.where(hours > 0, hours, 10_000))
                middle, most = ordered[len(ordered) // 2], ordered[int(0.9 * len(ordered))]
                fixed = f"{fixed_hours(scenario, alpha):.0f}" if not users else ""
                share = np.mean(hours > 0)
                label = f"{scenario.name}, α {alpha:.4f}, {'users' if users else 'predictions'}"
                print(f"{label:60} {middle:6} {most:6} {share:6.2f} {fixed:>5}", flush=True)


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    print_false_proposals(runs)
    print_power(runs)
