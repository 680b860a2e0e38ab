"""What the comparison of a candidate with its primary detects, and what it cannot detect, by simulation.

`python -m tests.reference.shadow_limits` prints the tables of docs/statistics.md in about a minute;
`tests/property/test_shadow_errors.py` checks them.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from barograph_server.sketches.rollout.day_evidence import day_evidence
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS
from barograph_server.sketches.rollout.e_bh import e_bh, log_mean_e
from barograph_server.sketches.rollout.planned_auc import rare_harm_days
from tests.reference import shadow_decisions, shadow_errors
from tests.reference.flight_pairs import BoolArray, FloatArray, flight_pairs
from tests.reference.shadow_decisions import format_day, quantiles

MEAN_LOOKS = (2, 10, 28, 50)
MEAN_DAYS = 150


def normal_days(rng: shadow_errors.Rng) -> FloatArray:
    return rng.standard_normal((shadow_errors.RUNS, MEAN_DAYS))


def skewed_days(pairs: int) -> Callable[[shadow_errors.Rng], FloatArray]:
    """Sums of log-normal values with a standard deviation of 1.5 in the logarithm, minus their mean."""

    def draw(rng: shadow_errors.Rng) -> FloatArray:
        runs = [rng.lognormal(0.0, 1.5, (100, MEAN_DAYS, pairs)).sum(axis=-1) for _ in range(shadow_errors.RUNS // 100)]
        return np.concatenate(runs) - pairs * math.exp(1.5**2 / 2.0)

    return draw


MEANS: dict[str, Callable[[shadow_errors.Rng], FloatArray]] = {
    "normal": normal_days,
    "skewed, 200 pairs a day": skewed_days(200),
    "skewed, one pair a day": skewed_days(1),
}


def false_means(name: str, first: int) -> BoolArray:
    """Whether the interval with κ = 1 ever excludes the mean 0 of independent days, from a day on."""
    days = MEANS[name](np.random.default_rng([list(MEANS).index(name), shadow_errors.RUNS]))
    value, half = shadow_errors.interval_path(days, np.ones(MEAN_DAYS), first, with_kappa=False)
    return np.asarray((np.abs(value) > half).any(axis=1), np.bool_)


EFFECTS = (1.0, 0.5)
Z80 = 0.8416212335729143
CENTERED = ("centered, accuracy", "centered, Brier")


def days_to_decide(draws: str, effect: float) -> FloatArray:
    """Return the first day on which the interval excludes 0, for a share of the real difference; ∞ if never."""
    simulated, days = _with_effect(draws, effect)
    value, half = shadow_errors.interval_path(days, simulated.pairs, BURN_IN_DAYS)
    return shadow_errors.first_days(np.abs(value) > half)


def evidence_days(draws: str, effect: float) -> FloatArray:
    """Return the first day on which the e-process reaches 1/α, after 28 days of burn-in; ∞ if never."""
    simulated, days = _with_effect(draws, effect)
    alarms = day_evidence(days, simulated.pairs, np.zeros(len(days))).different >= -math.log(shadow_errors.ALPHA)
    return shadow_errors.first_days(alarms) + 1


def fixed_days(draws: str, effect: float) -> float:
    """Return the days that the best test with one look at a fixed day needs: power 80 %, α 5 %; ∞ if there are too few.

    It knows the standard error at each day, which is that of the simulated runs.
    """
    simulated = shadow_errors.draws_of(draws)
    error = (np.cumsum(simulated.days, axis=1) / np.cumsum(simulated.pairs, axis=1)).std(axis=0)
    is_enough = effect * _quality(draws).mean() / error >= shadow_errors.Z95 + Z80
    return float(is_enough.argmax() + 1) if is_enough.any() else np.inf


def _with_effect(draws: str, effect: float) -> tuple[shadow_errors.Draws, FloatArray]:
    simulated = shadow_errors.draws_of(draws)
    return simulated, simulated.days + effect * _quality(draws).mean() * simulated.pairs


def _quality(draws: str) -> FloatArray:
    pairs = flight_pairs()
    return pairs.accuracy if draws == CENTERED[0] else pairs.brier


FIRST_LOOKS = (28, 56, 120)
RARE = ((0.25, 0.005), (0.05, 0.005), (0.1, 0.02))
"""Loss of a bad day and margin: a candidate exactly at the margin."""
PAIRS_PER_DAY = 900
DISCORDANT = 18
DAYS = 153


def promoted_with_rare_harm(worst_day: float, margin: float, first: int) -> BoolArray:
    """Whether the margin is ever shown from a day on, for a candidate that loses `worst_day` on a share of the days.

    On other days, 18 of 900 pairs are discordant and either model wins each of them with the same probability.
    """
    rng = np.random.default_rng([round(1_000 * worst_day), round(1_000 * margin)])
    quiet = 2.0 * rng.binomial(DISCORDANT, 0.5, (shadow_errors.RUNS, DAYS)) - DISCORDANT
    is_bad = rng.random((shadow_errors.RUNS, DAYS)) < margin / worst_day
    days = np.where(is_bad, quiet - worst_day * PAIRS_PER_DAY, quiet)
    return _promoted(days, np.full(DAYS, float(PAIRS_PER_DAY)), margin, first)


def promoted_at_margin(draws: str, margin: float, first: int) -> BoolArray:
    simulated = shadow_errors.draws_of(draws)
    return _promoted(simulated.days - margin * simulated.pairs, simulated.pairs, margin, first)


def _promoted(days: FloatArray, pairs: FloatArray, margin: float, first: int) -> BoolArray:
    value, half = shadow_errors.interval_path(days, pairs, first)
    return np.asarray((value - half > -margin).any(axis=1), np.bool_)


SLICE_RUNS = 400
SLICE_FLIGHTS = 200
HARMED = 3
HARMS = (0.0, 0.02, 0.05, 0.1)
SLICE_ALPHA = 0.1


def slice_days() -> tuple[FloatArray, FloatArray, FloatArray]:
    pairs = flight_pairs()
    slices = int(pairs.slice_index.max()) + 1
    cell = pairs.slice_index * pairs.days + pairs.day
    counts, primary, candidate = (
        np.bincount(cell, values, slices * pairs.days).reshape(slices, pairs.days)
        for values in (np.ones(len(cell)), *pairs.right)
    )
    large = counts.sum(axis=1) >= SLICE_FLIGHTS
    return counts[large], primary[large], candidate[large]


def slice_discoveries(harm: float) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return, per run, the largest share of false discoveries of a day, the share of harmed slices found, and whether
    the mean e-value ever reaches 1/α. Models are swapped by days; in three slices, right answers are made wrong."""
    counts, primary, candidate = slice_days()
    rng = np.random.default_rng([round(1_000 * harm), SLICE_RUNS])
    false_shares, discovered, alarms = [], [], []
    for sign in shadow_errors.signs(rng, SLICE_RUNS, counts.shape[1], 1):
        harmed = np.zeros(len(counts), np.bool_)
        if harm:
            harmed[rng.choice(len(counts), HARMED, replace=False)] = True
        right = np.where(sign > 0.0, candidate, primary)
        lost = np.where(harmed[:, None], rng.binomial(right.astype(np.int64), harm), 0)
        evidence = day_evidence(sign * (candidate - primary) - lost, np.maximum(counts, 1.0)).worse
        named = e_bh(evidence.T, SLICE_ALPHA)
        false_shares.append(((named & ~harmed).sum(axis=1) / np.maximum(named.sum(axis=1), 1)).max())
        discovered.append((named & harmed).any(axis=0).sum() / HARMED)
        alarms.append(bool((log_mean_e(evidence.T) >= -math.log(SLICE_ALPHA)).any()))
    return np.array(false_shares), np.array(discovered), np.array(alarms)


def rows() -> Iterator[str]:
    yield "| sums of independent days | " + " | ".join(f"from day {first}" for first in MEAN_LOOKS) + " |"
    yield "|---|" + "--:|" * len(MEAN_LOOKS)
    for name in MEANS:
        yield (
            f"| {name} | " + " | ".join(shadow_errors.percent(false_means(name, first)) for first in MEAN_LOOKS) + " |"
        )
    yield ""
    yield (
        "| real difference of | share of it | day by which 10 / 50 / 80 / 90% are decided | decided within 153 days "
        "| median of the e-process | best test at a fixed day |"
    )
    yield "|---|--:|---|--:|--:|--:|"
    for draws in CENTERED:
        for effect in EFFECTS:
            days = days_to_decide(draws, effect)
            others = f"{quantiles(evidence_days(draws, effect), (0.5,))} | {format_day(fixed_days(draws, effect))}"
            name = f"{draws.removeprefix('centered, ')}, {_quality(draws).mean():.4f}"
            decided = f"{100 * np.isfinite(days).mean():.0f}%"
            yield f"| {name} | {effect:g} | {quantiles(days)} | {decided} | {others} |"
    yield ""
    yield "| candidate at the margin | T | " + " | ".join(f"from day {first}" for first in FIRST_LOOKS) + " |"
    yield "|---|--:|" + "--:|" * len(FIRST_LOOKS)
    for worst_day, margin in RARE:
        shares = [shadow_errors.percent(promoted_with_rare_harm(worst_day, margin, first)) for first in FIRST_LOOKS]
        needed = math.ceil(rare_harm_days(margin, worst_day))
        yield f"| loses {worst_day:g} on rare days, margin {margin:g} | {needed} | " + " | ".join(shares) + " |"
    for draws, margin in zip(CENTERED, (0.02, 0.008), strict=True):
        shares = [shadow_errors.percent(promoted_at_margin(draws, margin, first)) for first in FIRST_LOOKS]
        yield f"| weather, {draws.removeprefix('centered, ')}, margin {margin:g} | | " + " | ".join(shares) + " |"
    yield ""
    name = f"right answers made wrong in {HARMED} of {len(slice_days()[0])} slices"
    yield f"| {name} | false discovery rate, any day | slices found | mean e ≥ 10 |"
    yield "|---|--:|--:|--:|"
    for harm in HARMS:
        false_share, discovered, alarm = slice_discoveries(harm)
        share = f"{100 * discovered.mean():.2g}" if harm else "–"
        yield f"| {100 * harm:g}% | {100 * false_share.mean():.2g} | {share} | {shadow_errors.percent(alarm)} |"
    yield ""
    yield from shadow_decisions.rows()


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
