"""Error rates of the comparison of a candidate with its primary, by simulation with fixed seeds.

`python -m tests.reference.shadow_errors` prints the tables of docs/statistics.md in about a minute;
`tests/property/test_shadow_errors.py` checks them. An A/A test swaps the models of `tests.reference.flight_pairs` at
random, in all pairs of an event, a day or several days. Centered days have no mean difference, and are drawn by a
stationary bootstrap, which keeps the correlation between days.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from barograph_server.sketches.comparison.sample_ratio import anytime_p
from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.rollout.day_evidence import day_evidence
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS, day_interval
from barograph_server.sketches.rollout.planned_auc import auc_difference, look_bounds
from tests.reference.flight_pairs import BoolArray, FloatArray, IntArray, Pairs, flight_pairs
from tests.support.performance import score_histogram

Rng = np.random.Generator
RUNS = 2_000
ALPHA = 0.05
Z95 = 1.959963984540054
DAYS_PER_RUN = 10.0
"""Mean length of the runs of the stationary bootstrap."""


@dataclass(frozen=True)
class Draws:
    """Simulated comparisons in which neither model is better."""

    days: FloatArray
    """Sums of differences, (runs, days)."""
    pairs: FloatArray
    """Pairs of each day, (days,) or (runs, days)."""
    hours: FloatArray | None = None
    """Wins − losses of each hour, (runs, hours)."""
    discordant: FloatArray | None = None
    """Wins + losses of each hour, (hours,)."""


def hourly(pairs: Pairs) -> tuple[FloatArray, FloatArray]:
    net, total = (np.bincount(pairs.hour, each) for each in (pairs.accuracy, np.abs(pairs.accuracy)))
    return np.asarray(net, np.float64), np.asarray(total, np.float64)


def swap_events(pairs: Pairs, rng: Rng) -> Draws:
    _, discordant = hourly(pairs)
    hours = 2.0 * rng.binomial(discordant.astype(np.int64), 0.5, (RUNS, len(discordant))) - discordant
    starts = np.searchsorted(pairs.day_of_hour, np.unique(pairs.day_of_hour))
    days = np.add.reduceat(hours, starts, axis=1)
    return Draws(days, pairs.by_day(np.ones(len(pairs.day))), hours, discordant)


def signs(rng: Rng, runs: int, days: int, block: int) -> FloatArray:
    """Return −1 or 1 for each day, the same for the days of a block that begins on any day, (runs, days)."""
    chosen = np.repeat(rng.choice([-1.0, 1.0], (runs, -(-days // block) + 1)), block, axis=1)
    start = rng.integers(block, size=(runs, 1))
    return np.take_along_axis(chosen, start + np.arange(days), axis=1)


def swap_days(block: int, pairs: Pairs, rng: Rng) -> Draws:
    sign = signs(rng, RUNS, pairs.days, block)
    difference, discordant = hourly(pairs)
    index = np.unique(pairs.day_of_hour, return_inverse=True)[1]
    return Draws(
        sign * pairs.by_day(pairs.accuracy),
        pairs.by_day(np.ones(len(pairs.day))),
        sign[:, index] * difference,
        discordant,
    )


def centered(quality: Callable[[Pairs], FloatArray], pairs: Pairs, rng: Rng) -> Draws:
    """Subtract the mean difference and draw days by a stationary bootstrap."""
    counts = pairs.by_day(np.ones(len(pairs.day)))
    sums = pairs.by_day(quality(pairs))
    sums = sums - sums.sum() / counts.sum() * counts
    index = bootstrap_days(rng, pairs.days)
    return Draws(sums[index], counts[index])


def bootstrap_days(rng: Rng, days: int, runs: int = RUNS) -> IntArray:
    """Return days in runs of geometric length, around the end of the series, (runs, days)."""
    index = rng.integers(days, size=(runs, days))
    continues = rng.random((runs, days)) >= 1.0 / DAYS_PER_RUN
    for day in range(1, days):
        index[:, day] = np.where(continues[:, day], (index[:, day - 1] + 1) % days, index[:, day])
    return index


DRAWS: dict[str, Callable[[Pairs, Rng], Draws]] = {
    "events swapped": swap_events,
    "days swapped": partial(swap_days, 1),
    "2 days": partial(swap_days, 2),
    "3 days": partial(swap_days, 3),
    "centered, accuracy": partial(centered, lambda pairs: pairs.accuracy),
    "centered, Brier": partial(centered, lambda pairs: pairs.brier),
}

Rule = Callable[[Draws], BoolArray | None]
"""Whether each run ever finds a difference; None if the draws have no hours."""
LEAST_DISCORDANT = 10.0


def mcnemar(looks: slice, draws: Draws) -> BoolArray | None:
    if draws.hours is None or draws.discordant is None:
        return None
    total = np.cumsum(draws.discordant)[looks]
    z = np.cumsum(draws.hours, axis=1)[:, looks] / np.sqrt(np.maximum(total, 1.0))
    return np.asarray(((np.abs(z) > Z95) & (total >= LEAST_DISCORDANT)).any(axis=1), np.bool_)


def event_evidence(draws: Draws) -> BoolArray | None:
    """The anytime-valid test of wins and losses, after every hour."""
    if draws.hours is None or draws.discordant is None:
        return None
    alarms = []
    for chunk in np.array_split(draws.hours, max(1, len(draws.hours) // 100)):
        wins = (np.cumsum(chunk, axis=1) + np.cumsum(draws.discordant)) / 2.0
        units = np.stack((wins, np.cumsum(draws.discordant) - wins), axis=-1)
        alarms.append(anytime_p(units, [0.5, 0.5]).min(axis=1) <= ALPHA)
    return np.concatenate(alarms)


def block_evidence(days: int, draws: Draws, *, with_kappa: bool = False) -> BoolArray:
    """The e-process of blocks of days, after every block; the first 28 days are the burn-in."""
    blocks = draws.days.shape[1] // days
    sums, pairs = (
        each[..., : blocks * days].reshape(*each.shape[:-1], blocks, days).sum(axis=-1)
        for each in (draws.days, draws.pairs)
    )
    kappa = None if with_kappa else np.ones(len(sums))
    evidence = day_evidence(sums, pairs, burn_in=BURN_IN_DAYS // days, kappa=kappa).different
    return np.asarray(evidence.max(axis=1) >= -np.log(ALPHA), np.bool_)


def interval(first: int, draws: Draws, *, with_kappa: bool = True) -> BoolArray:
    """The confidence sequence of days, after every day from the first look on."""
    value, half = interval_path(draws.days, draws.pairs, first, with_kappa=with_kappa)
    return np.asarray((np.abs(value) > half).any(axis=1), np.bool_)


def interval_path(
    days: FloatArray, pairs: FloatArray, first: int, *, with_kappa: bool = True
) -> tuple[FloatArray, FloatArray]:
    """Return value and half-width after every day from the first look on, each (runs, looks).

    The half-width is ∞ if the days are too alike. With κ = 1 they never are.
    """
    results = [day_interval(days[:, :t], pairs[..., :t], ALPHA) for t in range(first, days.shape[1] + 1)]
    value, half, kappa, too_alike = (
        np.stack([getattr(each, name) for each in results], axis=-1) for name in ("value", "half", "kappa", "too_alike")
    )
    return value, np.where(too_alike, np.inf, half) if with_kappa else half / np.sqrt(kappa)


def first_days(decisions: BoolArray) -> FloatArray:
    """Return the first day with a decision at the looks from day 28 on, ∞ if there is none, (runs,)."""
    return np.where(decisions.any(axis=1), BURN_IN_DAYS + decisions.argmax(axis=1), np.inf)


RULES: dict[str, Rule] = {
    "McNemar's test, every hour": partial(mcnemar, slice(None)),
    "McNemar's test, once at the end": partial(mcnemar, slice(-1, None)),
    "e-value of wins and losses, every hour": event_evidence,
    "e-process of days, κ = 1": partial(block_evidence, 1),
    "e-process of days": partial(block_evidence, 1, with_kappa=True),
    "e-process of blocks of 2 days, κ = 1": partial(block_evidence, 2),
    "confidence sequence of days, κ = 1, from day 10": partial(interval, 10, with_kappa=False),
    "**confidence sequence of days, from day 28**": partial(interval, 28),
}
DECIDES = "**confidence sequence of days, from day 28**"


@cache
def draws_of(name: str) -> Draws:
    return DRAWS[name](flight_pairs(), np.random.default_rng([list(DRAWS).index(name), RUNS]))


@cache
def false_differences(rule: str, draws: str) -> BoolArray | None:
    return RULES[rule](draws_of(draws))


SERIES_DAYS = 153
STEADY_DAYS = 200
"""Days that are drawn before the first one of a series, so that it does not depend on where it began."""


@dataclass(frozen=True)
class Series:
    """Differences of days of the mean 0: a level that resembles itself, and what is added to it."""

    correlation: float = 0.0
    """rₖ of the level is its power k; with `run`, days of one run are equal."""
    run: float = 0.0
    """Mean length of runs, in days."""
    noise: float = 0.0
    """Share of independent noise in the variance."""
    weekdays: float = 0.0
    """Standard deviation of the days of the week."""
    has_heavy_tails: bool = False
    """Whether steps have Student's t distribution with five degrees of freedom."""

    def draw(self, rng: Rng) -> FloatArray:
        shape = RUNS, STEADY_DAYS + SERIES_DAYS
        steps = rng.standard_t(5.0, shape) * math.sqrt(0.6) if self.has_heavy_tails else rng.standard_normal(shape)
        continues = rng.random(shape) >= 1.0 / max(self.run, 1.0)
        for day in range(1, shape[1]):
            before, step = steps[:, day - 1], steps[:, day]
            next_level = self.correlation * before + math.sqrt(1.0 - self.correlation**2) * step
            steps[:, day] = np.where(continues[:, day], before, step) if self.run else next_level
        of_week = rng.standard_normal((RUNS, 7))
        of_week -= of_week.mean(axis=1, keepdims=True)
        level, noise = steps[:, STEADY_DAYS:], rng.standard_normal((RUNS, SERIES_DAYS))
        days = math.sqrt(1.0 - self.noise) * level + math.sqrt(self.noise) * noise
        return days + self.weekdays * of_week[:, np.arange(SERIES_DAYS) % 7]


SERIES = {
    "independent": Series(),
    **{f"autoregressive, {correlation:g}": Series(correlation) for correlation in (0.2, 0.45, 0.6, 0.7, 0.8, 0.92)},
    "autoregressive, 0.6, heavy tails": Series(0.6, has_heavy_tails=True),
    "autoregressive, 0.4, days of the week": Series(0.4, weekdays=0.9),
    "runs of 4 days": Series(run=4.0, noise=0.1),
    "runs of 8 days": Series(run=8.0, noise=0.1),
    "autoregressive, 0.92, half noise": Series(0.92, noise=0.5),
}


class SeriesErrors(NamedTuple):
    """What happens to candidates with generated days, each (runs,)."""

    excluded_without_kappa: BoolArray
    """The confidence sequence with κ = 1 ever excludes the true mean."""
    excluded: BoolArray
    promotes: BoolArray
    """A candidate at its margin is ever promoted."""
    holds: BoolArray
    """An equal candidate is ever held, with a margin near 0."""
    unknown: BoolArray
    """There is no interval, (runs, looks)."""


@cache
def series_errors(name: str) -> SeriesErrors:
    days = SERIES[name].draw(np.random.default_rng([list(SERIES).index(name), RUNS, SERIES_DAYS]))
    # So that days have enough pairs, and the least scale of the e-process does not matter.
    days, pairs = 1_000.0 * days, np.full(SERIES_DAYS, 1_000.0)
    value, narrow = interval_path(days, pairs, BURN_IN_DAYS, with_kappa=False)
    half = interval_path(days, pairs, BURN_IN_DAYS)[1]
    evidence = day_evidence(days, pairs).worse.max(axis=1) >= -math.log(ALPHA)
    crossings = ((np.abs(value) > limit).any(axis=1) for limit in (narrow, half))
    flags = (*crossings, (value > half).any(axis=1), (value < -half).any(axis=1) | evidence, np.isinf(half))
    return SeriesErrors(*(np.asarray(each, np.bool_) for each in flags))


AUC_RUNS = 1_000
LOOKS = 5


@cache
def auc_histograms() -> tuple[FloatArray, FloatArray]:
    """Labelled flights of each day by score, of the primary and of the candidate, each (days, bins, 3)."""
    pairs = flight_pairs()
    edges = score_edges(0.5)
    hists = [
        np.stack(
            [
                score_histogram(scores[pairs.day == day], edges, pairs.label[pairs.day == day])
                for day in range(pairs.days)
            ]
        )
        for scores in (pairs.primary, pairs.candidate)
    ]
    return hists[0], hists[1]


def auc_crossings(block: int, *, with_kappa: bool) -> BoolArray:
    """Whether the difference of AUC is beyond its bound at one of five looks, with the models swapped by days."""
    primary, candidate = auc_histograms()
    days = len(primary)
    rng = np.random.default_rng([block, AUC_RUNS])
    looks = np.rint(np.arange(1, LOOKS + 1) / LOOKS * days).astype(np.int64)
    bounds = look_bounds(looks / days)
    alarms = []
    for swap in np.array_split(signs(rng, AUC_RUNS, days, block) < 0.0, AUC_RUNS // 20):
        swapped = swap[..., None, None]
        left, right = np.where(swapped, candidate, primary), np.where(swapped, primary, candidate)
        alarm = np.zeros(len(swap), np.bool_)
        for days_so_far, bound in zip(looks.tolist(), bounds.tolist(), strict=True):
            result = auc_difference(left[:, :days_so_far], right[:, :days_so_far])
            alarm |= np.abs(result.z) * (1.0 if with_kappa else np.sqrt(result.kappa)) > bound
        alarms.append(alarm)
    return np.concatenate(alarms)


def auc_standard_errors() -> tuple[float, float, float]:
    """Return the difference of AUC of all days, its standard error for independent rows, and that for days."""
    pairs = flight_pairs()
    result = auc_difference(*auc_histograms())
    variance = delong_variance(pairs.primary, pairs.candidate, pairs.label)
    return float(result.difference), math.sqrt(variance), math.sqrt(float(result.variance * result.kappa))


def delong_variance(primary: FloatArray, candidate: FloatArray, label: BoolArray) -> float:
    """Return DeLong's variance of the difference of two AUC on the same independent rows."""
    variance = 0.0
    for rows, others in ((label, ~label), (~label, label)):
        differences = _placements(candidate, rows, others) - _placements(primary, rows, others)
        variance += float(np.var(differences, ddof=1)) / len(differences)
    return variance


def _placements(scores: FloatArray, rows: BoolArray, others: BoolArray) -> FloatArray:
    """Return, for each of some rows, the share of other rows with a lower score, ties ½."""
    ordered = np.sort(scores[others])
    below = [np.searchsorted(ordered, scores[rows], side) for side in ("left", "right")]
    return np.asarray((below[0] + below[1]) / (2.0 * len(ordered)), np.float64)


def rows() -> Iterator[str]:
    pairs = flight_pairs()
    name = f"false differences within {pairs.days} days of {len(pairs.day):,} pairs, in %"
    yield f"| {name} | " + " | ".join(DRAWS) + " |"
    yield "|---|" + "--:|" * len(DRAWS)
    for rule in RULES:
        yield f"| {rule} | " + " | ".join(percent(false_differences(rule, draws)) for draws in DRAWS) + " |"
    yield ""
    title = f"generated days: mean ever excluded within {SERIES_DAYS} days, in %"
    others = "at its margin, but promoted | equal, but held | too alike on day 28 / 60 / 153"
    yield f"| {title} | κ = 1 | **with κ** | {others} |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name in SERIES:
        errors = series_errors(name)
        rates = (errors.excluded_without_kappa, errors.excluded, errors.promotes, errors.holds)
        unknown = " / ".join(percent(errors.unknown[:, day - BURN_IN_DAYS]) for day in (28, 60, SERIES_DAYS))
        yield f"| {name} | " + " | ".join(percent(each) for each in rates) + f" | {unknown} |"
    yield ""
    yield "| AUC at five declared looks, in % | days swapped | 2 days |"
    yield "|---|--:|--:|"
    for name, with_kappa in (("variance of days, κ = 1", False), ("**variance of days**", True)):
        shares = [percent(auc_crossings(block, with_kappa=with_kappa)) for block in (1, 2)]
        yield f"| {name} | " + " | ".join(shares) + " |"
    yield ""
    difference, of_rows, of_days = auc_standard_errors()
    yield "| difference of AUC | standard error of independent rows | of days, with κ |"
    yield "|--:|--:|--:|"
    yield f"| {difference:.4f} | {of_rows:.4f} | {of_days:.4f} |"


def percent(alarms: BoolArray | None) -> str:
    if alarms is None:
        return "–"
    share = 100.0 * float(alarms.mean())
    return f"{share:.0f}" if share >= 9.95 else f"{share:.2g}"


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
