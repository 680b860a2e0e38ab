"""Error rates and power of the comparison of two arms of an A/B test, by simulation with fixed seeds.

`python -m tests.reference.arm_errors` prints the tables of docs/statistics.md in about two minutes;
`tests/property/test_arm_errors.py` checks them. Each flight of `tests.reference.flight_pairs` is served by one arm,
which predictions or returning units get, for the whole test or again each day. Generated users differ more.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.special import stdtrit

from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS
from barograph_server.sketches.rollout.decision import Criterion, CriterionDays, Outcome, decide
from barograph_server.sketches.rollout.split_traffic import arm_differences, unit_variances
from tests.reference.flight_pairs import BoolArray, FloatArray, IntArray, Pairs, flight_pairs
from tests.reference.shadow_decisions import quantiles
from tests.reference.shadow_errors import ALPHA, Z95, Rng, first_days, interval_path, percent

RUNS = 500
BUCKETS = 64
MARGIN = 0.02


@dataclass(frozen=True)
class Assignment:
    arm: BoolArray
    bucket: IntArray


Draw = Callable[[Pairs, Rng, float], Assignment]


def by_prediction(pairs: Pairs, rng: Rng, share: float) -> Assignment:
    return Assignment(rng.random(len(pairs.day)) < share, np.zeros(len(pairs.day), np.int64))


def by_unit(pairs: Pairs, rng: Rng, share: float) -> Assignment:
    units = int(pairs.unit_index.max()) + 1
    return Assignment(
        (rng.random(units) < share)[pairs.unit_index], rng.integers(BUCKETS, size=units)[pairs.unit_index]
    )


def by_unit_and_day(pairs: Pairs, rng: Rng, share: float) -> Assignment:
    units = int(pairs.unit_index.max()) + 1
    arm = rng.random((units, pairs.days)) < share
    return Assignment(arm[pairs.unit_index, pairs.day], rng.integers(BUCKETS, size=units)[pairs.unit_index])


DRAWS: dict[str, tuple[Draw, float]] = {
    "predictions": (by_prediction, 0.5),
    "units, drawn again each day": (by_unit_and_day, 0.5),
    "units": (by_unit, 0.5),
    "units, a tenth in one arm": (by_unit, 0.1),
}


@dataclass(frozen=True)
class ArmDraws:
    days: FloatArray
    """Weighted differences, (RUNS, days)."""
    weights: FloatArray
    unit_variances: FloatArray
    """Variance by the assignment of units at each look from day 28 on, (RUNS, looks)."""
    freedom: FloatArray
    """Its degrees of freedom."""
    pooled_z: FloatArray
    """Difference of the means of all events so far in standard errors of independent events, (RUNS, looks)."""

    @property
    def unit_half(self) -> FloatArray:
        return np.asarray(-stdtrit(self.freedom, ALPHA / 4.0) * np.sqrt(self.unit_variances), np.float64)


@cache
def draws_of(name: str, quality: str, *, is_real: bool = False) -> ArmDraws:
    """Simulate tests; with `is_real` the arm has the model with weather, otherwise both have the one without."""
    pairs = flight_pairs()
    draw, share = DRAWS[name]
    rng = np.random.default_rng([list(DRAWS).index(name), RUNS])
    control, candidate = qualities(pairs, quality)
    results = [_test(pairs, draw(pairs, rng, share), control, candidate if is_real else control) for _ in range(RUNS)]
    return _stacked(results)


def _stacked(results: Sequence[tuple[FloatArray, ...]]) -> ArmDraws:
    return ArmDraws(*(np.stack(each) for each in zip(*results, strict=True)))


def qualities(pairs: Pairs, quality: str) -> tuple[FloatArray, FloatArray]:
    if quality == "accuracy":
        primary, candidate = pairs.right
        return primary.astype(np.float64), candidate.astype(np.float64)
    return -((pairs.primary - pairs.label) ** 2), -((pairs.candidate - pairs.label) ** 2)


def by_bucket(pairs: Pairs, assignment: Assignment, values: FloatArray) -> FloatArray:
    cell = (pairs.day * 2 + assignment.arm) * BUCKETS + assignment.bucket
    totals = np.bincount(cell, values, pairs.days * 2 * BUCKETS)
    return np.asarray(totals.reshape(pairs.days, 2, BUCKETS), np.float64)


def _test(pairs: Pairs, assignment: Assignment, control: FloatArray, candidate: FloatArray) -> tuple[FloatArray, ...]:
    values = np.where(assignment.arm, candidate, control)
    sums, squares, counts = (
        by_bucket(pairs, assignment, each) for each in (values, values**2, np.ones(len(pairs.day)))
    )
    return _summary(sums, squares, counts)


def _summary(sums: FloatArray, squares: FloatArray, counts: FloatArray) -> tuple[FloatArray, ...]:
    n, s, s2 = (np.cumsum(each.sum(axis=-1), axis=0) for each in (counts, sums, squares))
    means = s / n
    variance = np.sum((s2 / n - means**2) / n, axis=-1)
    z = (means[:, 1] - means[:, 0]) / np.sqrt(variance)
    at_looks = (each[BURN_IN_DAYS - 1 :] for each in (*unit_variances(sums, counts), z))
    return *arm_differences(sums.sum(axis=-1), counts.sum(axis=-1)), *at_looks


@dataclass(frozen=True)
class Users:
    """Users who return as often as they did, for all days."""

    users: int
    activity: float
    """σ of the logarithm of a user's requests."""
    share: float = 0.5
    """Share of users in the arm."""

    def __str__(self) -> str:
        share = "" if self.share == 0.5 else f", {100 * self.share:g}% in one arm"
        return f"{self.users:,} users, σ {self.activity:g}{share}"


GENERATED = (Users(250, 2.0), Users(250, 1.2), Users(400, 1.8, 0.35), Users(1_500, 2.2), Users(5_000, 1.0))
GENERATED_DAYS = 56
EVENTS_PER_DAY = 3_000.0
USER_SD, DAY_SD, EVENT_SD = 0.6, 0.4, 0.8
"""Standard deviations of the mean of a user, of a day, and of one event around both."""


@cache
def generated_draws(scenario: Users) -> ArmDraws:
    rng = np.random.default_rng([GENERATED.index(scenario), RUNS, GENERATED_DAYS])
    results = []
    for _ in range(RUNS):
        rates = np.exp(scenario.activity * rng.standard_normal(scenario.users))
        counts = rng.poisson(EVENTS_PER_DAY * rates / rates.sum(), (GENERATED_DAYS, scenario.users)).astype(np.float64)
        means = USER_SD * rng.standard_normal(scenario.users) + DAY_SD * rng.standard_normal((GENERATED_DAYS, 1))
        sums = counts * means + np.sqrt(counts) * EVENT_SD * rng.standard_normal(counts.shape)
        squares = counts * (means**2 + EVENT_SD**2)
        cell = (rng.random(scenario.users) < scenario.share) * BUCKETS + rng.integers(BUCKETS, size=scenario.users)
        in_cell = np.eye(2 * BUCKETS)[cell]
        results.append(_summary(*((each @ in_cell).reshape(-1, 2, BUCKETS) for each in (sums, squares, counts))))
    return _stacked(results)


def pooled(draws: ArmDraws) -> tuple[BoolArray, BoolArray]:
    """The test of two means of independent events, after every day."""
    return np.asarray(draws.pooled_z > Z95, np.bool_), np.asarray(draws.pooled_z < -Z95, np.bool_)


def days_alone(draws: ArmDraws) -> tuple[BoolArray, BoolArray]:
    value, half = interval_path(draws.days, draws.weights, BURN_IN_DAYS)
    return np.asarray(value > half, np.bool_), np.asarray(value < -half, np.bool_)


def days_and_units(draws: ArmDraws) -> tuple[BoolArray, BoolArray]:
    value, half = interval_path(draws.days, draws.weights, BURN_IN_DAYS)
    wide = np.hypot(half, draws.unit_half)
    return np.asarray(value > wide, np.bool_), np.asarray(value < -wide, np.bool_)


def normal_units(draws: ArmDraws) -> tuple[BoolArray, BoolArray]:
    """The same with the normal quantile, as if the variance by units were known."""
    return days_and_units(replace(draws, freedom=np.full_like(draws.freedom, np.inf)))


RULES = {"independent events": pooled, "days": days_alone, "days and units": days_and_units}
GENERATED_RULES = {
    "days": days_alone,
    "days, units, normal quantile": normal_units,
    "**days and units**": days_and_units,
}
QUALITIES = ("accuracy", "Brier")


def rule_of(name: str) -> str:
    return "days" if name == "predictions" else "days and units"


def false_differences(rule: str, name: str, quality: str) -> BoolArray:
    return _ever(RULES[rule], draws_of(name, quality))


def generated_differences(rule: str, scenario: Users) -> BoolArray:
    return _ever(GENERATED_RULES[rule], generated_draws(scenario))


def _ever(rule: Callable[[ArmDraws], tuple[BoolArray, BoolArray]], draws: ArmDraws) -> BoolArray:
    better, worse = rule(draws)
    return np.asarray((better | worse).any(axis=1), np.bool_)


def false_promotions(name: str, quality: str) -> BoolArray:
    """Whether an arm that is worse by exactly the margin is ever shown to be within it."""
    return np.asarray(RULES[rule_of(name)](draws_of(name, quality))[0].any(axis=1), np.bool_)


def days_to_decide(name: str, quality: str) -> FloatArray:
    better, _ = RULES[rule_of(name)](draws_of(name, quality, is_real=True))
    return first_days(better)


def half_width(name: str, quality: str) -> float:
    draws = draws_of(name, quality, is_real=True)
    _, half = interval_path(draws.days, draws.weights, draws.days.shape[1])
    unit_half = 0.0 if name == "predictions" else draws.unit_half[:, -1]
    return float(np.median(np.hypot(half[:, -1], unit_half)))


def paired(quality: str) -> tuple[float, float]:
    """Return the half-width after all days if both models answer all flights, and the day of the decision."""
    pairs = flight_pairs()
    control, candidate = qualities(pairs, quality)
    days, counts = pairs.by_day(candidate - control), pairs.by_day(np.ones(len(pairs.day)))
    value, half = interval_path(days[None], counts[None], BURN_IN_DAYS)
    better = value[0] > half[0]
    return float(half[0, -1]), BURN_IN_DAYS + float(better.argmax()) if better.any() else math.inf


def holds(name: str, looks: range) -> BoolArray:
    """Whether `decide` holds the arm of an A/A test at any of some looks (days), by accuracy."""
    draws = draws_of(name, "accuracy")
    is_held = np.zeros(RUNS, np.bool_)
    for run in range(RUNS):
        for day in looks:
            days = CriterionDays(Criterion("accuracy", MARGIN), draws.days[run, :day], draws.weights[run, :day])
            if name != "predictions":
                variance, freedom = (
                    float(each[run, day - BURN_IN_DAYS]) for each in (draws.unit_variances, draws.freedom)
                )
                days = replace(days, unit_variance=variance, unit_freedom=freedom)
            is_held[run] |= decide([days]).outcome is Outcome.hold
    return is_held


def rows() -> Iterator[str]:
    pairs = flight_pairs()
    columns = ["independent events, every day", "days", "**days and units**", "worse by the margin, but promoted"]
    title = f"A/A tests of {pairs.days} days, {len(pairs.day):,} events: false differences, in %"
    yield f"| {title} | " + " | ".join(columns) + " |"
    yield "|---|" + "--:|" * len(columns)
    for name in DRAWS:
        for quality in QUALITIES:
            shares = [percent(false_differences(rule, name, quality)) for rule in RULES]
            shares.append(percent(false_promotions(name, quality)))
            yield f"| {name}: {quality} | " + " | ".join(shares) + " |"
    yield ""
    title = f"A/A tests of {GENERATED_DAYS} days, generated users: false differences, in %"
    yield f"| {title} | " + " | ".join(GENERATED_RULES) + " |"
    yield "|---|" + "--:|" * len(GENERATED_RULES)
    for scenario in GENERATED:
        shares = [percent(generated_differences(rule, scenario)) for rule in GENERATED_RULES]
        yield f"| {scenario} | " + " | ".join(shares) + " |"
    yield ""
    yield "| real difference of | assigned | half-width after 153 days | day by which 50 / 80% are decided | decided |"
    yield "|---|---|--:|---|--:|"
    for quality in QUALITIES:
        control, candidate = qualities(pairs, quality)
        difference = f"{quality}, {(candidate - control).mean():.4f}"
        half, day = paired(quality)
        yield f"| {difference} | nothing: pairs | {half:.4f} | {day:.0f} | |"
        for name in DRAWS:
            days = days_to_decide(name, quality)
            shown = quantiles(days, (0.5, 0.8))
            decided = f"{100 * np.isfinite(days).mean():.0f}%"
            yield f"| {difference} | {name} | {half_width(name, quality):.4f} | {shown} | {decided} |"


if __name__ == "__main__":
    for line in rows():
        print(line, flush=True)
