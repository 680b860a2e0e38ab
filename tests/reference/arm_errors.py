"""Error rates and power of the comparison of two arms of an A/B test, by simulation with fixed seeds.

`python -m tests.reference.arm_errors` prints the tables of docs/statistics.md in about two minutes of one core;
`tests/property/test_arm_errors.py` checks them.

The events are flights of the flights example (`tests.reference.flight_pairs`). Each is served by one arm only. In an
A/A test both arms have the same model. Arms are assigned to predictions, or to units that return on most days, for the
whole test or again on each day.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS
from barograph_server.sketches.rollout.decision import Criterion, CriterionDays, Outcome, decide
from barograph_server.sketches.rollout.split_traffic import arm_differences
from tests.reference.flight_pairs import BoolArray, FloatArray, IntArray, Pairs, flight_pairs
from tests.reference.shadow_decisions import quantiles
from tests.reference.shadow_errors import Z95, Rng, first_days, interval_path, percent

RUNS = 500
BUCKETS = 64
UNIT_Z = 2.241402727604947
"""Two-sided normal quantile of α/2."""
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
    pooled_z: FloatArray
    """Difference of the means of all events so far in standard errors of independent events, (RUNS, looks)."""


@cache
def draws_of(name: str, quality: str, *, is_real: bool = False) -> ArmDraws:
    """Simulate tests; with `is_real` the arm has the model with weather, otherwise both have the one without."""
    pairs = flight_pairs()
    draw, share = DRAWS[name]
    rng = np.random.default_rng([list(DRAWS).index(name), RUNS])
    control, candidate = qualities(pairs, quality)
    results = [_test(pairs, draw(pairs, rng, share), control, candidate if is_real else control) for _ in range(RUNS)]
    days, weights, variances, z = (np.stack(each) for each in zip(*results, strict=True))
    return ArmDraws(days, weights, variances, z)


def qualities(pairs: Pairs, quality: str) -> tuple[FloatArray, FloatArray]:
    if quality == "accuracy":
        primary, candidate = pairs.right
        return primary.astype(np.float64), candidate.astype(np.float64)
    return -((pairs.primary - pairs.label) ** 2), -((pairs.candidate - pairs.label) ** 2)


def by_bucket(pairs: Pairs, assignment: Assignment, values: FloatArray) -> FloatArray:
    cell = (pairs.day * 2 + assignment.arm) * BUCKETS + assignment.bucket
    totals = np.bincount(cell, values, pairs.days * 2 * BUCKETS)
    return np.asarray(totals.reshape(pairs.days, 2, BUCKETS), np.float64)


def _test(
    pairs: Pairs, assignment: Assignment, control: FloatArray, candidate: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    values = np.where(assignment.arm, candidate, control)
    sums, squares, counts = (
        by_bucket(pairs, assignment, each) for each in (values, values**2, np.ones(len(pairs.day)))
    )
    differences, weights = arm_differences(sums.sum(axis=-1), counts.sum(axis=-1))
    n, s, s2 = (np.cumsum(each.sum(axis=-1), axis=0) for each in (counts, sums, squares))
    means = s / n
    variance = np.sum((s2 / n - means**2) / n, axis=-1)
    z = (means[:, 1] - means[:, 0]) / np.sqrt(variance)
    looks = slice(BURN_IN_DAYS - 1, None)
    return differences, weights, variance_path(sums, counts)[looks], z[looks]


def variance_path(sums: FloatArray, counts: FloatArray) -> FloatArray:
    totals, events = sums.sum(axis=-1), counts.sum(axis=-1)
    weight = events[:, 0] * events[:, 1] / np.maximum(events.sum(axis=1), 1.0)
    residuals = sums - (totals / np.maximum(events, 1.0))[..., None] * counts
    effects = np.cumsum(weight[:, None, None] * residuals / np.maximum(events, 1.0)[..., None], axis=0)
    effects /= np.cumsum(weight)[:, None, None]
    buckets = np.count_nonzero(np.cumsum(counts, axis=0), axis=-1)
    return np.asarray(np.sum(np.sum(effects**2, axis=-1) * buckets / np.maximum(buckets - 1, 1), axis=-1), np.float64)


def pooled(draws: ArmDraws) -> tuple[BoolArray, BoolArray]:
    """The test of two means of independent events, after every day."""
    return np.asarray(draws.pooled_z > Z95, np.bool_), np.asarray(draws.pooled_z < -Z95, np.bool_)


def days_alone(draws: ArmDraws) -> tuple[BoolArray, BoolArray]:
    value, half, _ = interval_path(draws.days, draws.weights, BURN_IN_DAYS)
    return np.asarray(value > half, np.bool_), np.asarray(value < -half, np.bool_)


def days_and_units(draws: ArmDraws) -> tuple[BoolArray, BoolArray]:
    value, half, _ = interval_path(draws.days, draws.weights, BURN_IN_DAYS)
    wide = np.sqrt(half**2 + UNIT_Z**2 * draws.unit_variances)
    return np.asarray(value > wide, np.bool_), np.asarray(value < -wide, np.bool_)


RULES = {"independent events": pooled, "days": days_alone, "days and units": days_and_units}
QUALITIES = ("accuracy", "Brier")


def rule_of(name: str) -> str:
    return "days" if name == "predictions" else "days and units"


def false_differences(rule: str, name: str, quality: str) -> BoolArray:
    better, worse = RULES[rule](draws_of(name, quality))
    return np.asarray((better | worse).any(axis=1), np.bool_)


def false_promotions(name: str, quality: str) -> BoolArray:
    """Whether an arm that is worse by exactly the margin is ever shown to be within it."""
    return np.asarray(RULES[rule_of(name)](draws_of(name, quality))[0].any(axis=1), np.bool_)


def days_to_decide(name: str, quality: str) -> FloatArray:
    better, _ = RULES[rule_of(name)](draws_of(name, quality, is_real=True))
    return first_days(better)


def half_width(name: str, quality: str) -> float:
    draws = draws_of(name, quality, is_real=True)
    _, half, _ = interval_path(draws.days, draws.weights, draws.days.shape[1])
    variance = 0.0 if name == "predictions" else draws.unit_variances[:, -1]
    return float(np.median(np.sqrt(half[:, -1] ** 2 + UNIT_Z**2 * variance)))


def paired(quality: str) -> tuple[float, float]:
    """Return the half-width after all days if both models answer all flights, and the day of the decision."""
    pairs = flight_pairs()
    control, candidate = qualities(pairs, quality)
    days, counts = pairs.by_day(candidate - control), pairs.by_day(np.ones(len(pairs.day)))
    value, half, _ = interval_path(days[None], counts[None], BURN_IN_DAYS)
    better = value[0] > half[0]
    return float(half[0, -1]), BURN_IN_DAYS + float(better.argmax()) if better.any() else math.inf


def holds(name: str, looks: range) -> BoolArray:
    """Whether `decide` holds the arm of an A/A test at any of some looks (days), by accuracy."""
    draws = draws_of(name, "accuracy")
    is_held = np.zeros(RUNS, np.bool_)
    for run in range(RUNS):
        for day in looks:
            variance = 0.0 if name == "predictions" else float(draws.unit_variances[run, day - BURN_IN_DAYS])
            criterion = Criterion("accuracy", MARGIN)
            days = CriterionDays(criterion, draws.days[run, :day], draws.weights[run, :day], unit_variance=variance)
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
