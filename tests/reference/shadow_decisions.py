"""How often the whole decision about a candidate is wrong, and how long it takes, by simulation with fixed seeds.

Criteria, margins and slices are those of `barograph demo --shadow`; no answer is missing. A decision changes only when
a local day ends, so that a look after every day stands for one every hour. `decision_paths` computes `decide` for all
looks of all runs at once; `tests/property/test_shadow_errors.py` compares both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from barograph_server.examples.flights.contract import SHADOW
from barograph_server.sketches.rollout.day_evidence import day_evidence
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS, LEAST_PAIRS, mean_radius
from barograph_server.sketches.rollout.decision import ALPHA, SLICE_ALPHA
from barograph_server.sketches.rollout.e_bh import e_bh
from barograph_server.sketches.rollout.planned_auc import least_days
from tests.reference import shadow_errors
from tests.reference.flight_pairs import BoolArray, FloatArray, IntArray, flight_pairs

RUNS = 1_000
CRITERIA = len(SHADOW.margins)
QUALITIES = ("accuracy", "brier")


@dataclass(frozen=True)
class Candidates:
    """Simulated days of candidates that are as good as the primary."""

    sums: dict[str, FloatArray]
    """Sums of differences by criterion, (runs, days)."""
    pairs: FloatArray
    """Pairs of each day, (runs, days)."""
    slice_sums: FloatArray
    """Sums of differences of accuracy in slices, (runs, slices, days)."""
    slice_pairs: FloatArray
    """Pairs of slices, (runs, slices, days)."""

    def moved(self, accuracy: float, brier: float) -> Candidates:
        """Add a difference per pair to both criteria; that of accuracy to all slices, too."""
        change = {"accuracy": accuracy, "brier": brier}
        return Candidates(
            {name: sums + change[name] * self.pairs for name, sums in self.sums.items()},
            self.pairs,
            self.slice_sums + accuracy * self.slice_pairs,
            self.slice_pairs,
        )

    def signed(self, sign: FloatArray | float) -> Candidates:
        """Swap the models where the sign is −1; one sign for all pairs, or (runs, days)."""
        of_slices = np.asarray(sign)[..., None, :] if np.ndim(sign) else sign
        return Candidates(
            {name: sign * sums for name, sums in self.sums.items()},
            np.abs(sign) * self.pairs,
            of_slices * self.slice_sums,
            np.abs(of_slices) * self.slice_pairs,
        )


@dataclass(frozen=True)
class DecisionPaths:
    """Decisions at each look from day 28 on, each (runs, looks); neither is `insufficient`."""

    promotes: BoolArray
    holds: BoolArray


@cache
def observed() -> Candidates:
    """Return the real days of the model with weather beside that without, as one run. Slices have 50 pairs (median)."""
    pairs = flight_pairs()
    counts = pairs.by_day(np.ones(len(pairs.day)))
    sums = {"accuracy": pairs.by_day(pairs.accuracy), "brier": pairs.by_day(pairs.brier)}
    parts = [_by_slice(index, values) for index in (pairs.origin, pairs.carrier) for values in (None, pairs.accuracy)]
    slice_counts, slice_sums = np.concatenate(parts[0::2]), np.concatenate(parts[1::2])
    large = np.median(slice_counts, axis=1) >= LEAST_PAIRS
    return Candidates(
        {name: each[None] for name, each in sums.items()},
        counts[None],
        slice_sums[large][None],
        slice_counts[large][None],
    )


def real_difference(name: str) -> float:
    return float(observed().sums[name].sum() / observed().pairs.sum())


def _by_slice(index: IntArray, values: FloatArray | None) -> FloatArray:
    pairs = flight_pairs()
    slices = int(index.max()) + 1
    sums = np.bincount(index * pairs.days + pairs.day, values, slices * pairs.days)
    return np.asarray(sums.reshape(slices, pairs.days), np.float64)


def day_signs(block: int, runs: int = RUNS) -> FloatArray:
    return shadow_errors.signs(np.random.default_rng([block, runs]), runs, flight_pairs().days, block)


def swapped(sign: FloatArray) -> Candidates:
    return observed().signed(sign)


@cache
def resampled() -> Candidates:
    """Subtract the mean difference, also in each slice, and draw days by a stationary bootstrap."""
    real = observed()
    index = shadow_errors.bootstrap_days(np.random.default_rng([9, RUNS]), real.pairs.shape[1], RUNS)
    centered = real.moved(*(-real_difference(name) for name in QUALITIES))
    slice_means = centered.slice_sums.sum(axis=-1, keepdims=True) / real.slice_pairs.sum(axis=-1, keepdims=True)
    slice_sums = centered.slice_sums - slice_means * real.slice_pairs
    return Candidates(
        {name: sums[0][index] for name, sums in centered.sums.items()},
        real.pairs[0][index],
        slice_sums[0][:, index].swapaxes(0, 1),
        real.slice_pairs[0][:, index].swapaxes(0, 1),
    )


def decision_paths(candidates: Candidates) -> DecisionPaths:
    """Return the decision of each run at each look, as `sketches.rollout.decision.decide` makes it."""
    looks = np.arange(BURN_IN_DAYS, candidates.pairs.shape[1] + 1)
    meets, harms = [], []
    for name, sums in candidates.sums.items():
        margin = SHADOW.margins[name]
        value, half = shadow_errors.interval_path(sums, candidates.pairs, BURN_IN_DAYS)
        met = value - half > -margin
        wider = half * mean_radius(looks, ALPHA / CRITERIA) / mean_radius(looks, ALPHA)
        evidence = day_evidence(sums, candidates.pairs, np.full(len(sums), -margin)).worse
        strong = np.pad(evidence, ((0, 0), (1, 0)), constant_values=-np.inf) >= np.log(CRITERIA / ALPHA)
        meets.append(met & (looks >= least_days(margin, SHADOW.worst_day, ALPHA)))
        harms.append(~met & ((value + wider < 0.0) | strong))
    slice_evidence = day_evidence(candidates.slice_sums, candidates.slice_pairs).worse
    named = e_bh(slice_evidence.swapaxes(1, 2), SLICE_ALPHA).any(axis=-1)
    harmed_slice = np.pad(named, ((0, 0), (1, 0)))
    promotes = np.stack(meets).all(axis=0) & ~harmed_slice
    holds = ~promotes & (np.stack(harms).any(axis=0) | harmed_slice)
    return DecisionPaths(np.asarray(promotes, np.bool_), np.asarray(holds, np.bool_))


def decision_days(sign: float) -> tuple[FloatArray, FloatArray]:
    paths = decision_paths(resampled().signed(sign).moved(*(sign * real_difference(name) for name in QUALITIES)))
    return shadow_errors.first_days(paths.promotes), shadow_errors.first_days(paths.holds)


def decision_days_of_the_year(sign: float) -> tuple[float, float]:
    """Return the first days of `promote` and of `hold` with the days as they were; ∞ for never."""
    paths = decision_paths(observed().signed(sign))
    return float(shadow_errors.first_days(paths.promotes)[0]), float(shadow_errors.first_days(paths.holds)[0])


NO_DIFFERENCE = {"days swapped": 1, "2 days swapped": 2, "3 days swapped": 3, "days resampled": 0}
"""Name → length of the blocks that are swapped; 0 resamples centered days."""
MOVES = {
    "equal": (0.0, 0.0),
    "accuracy at its margin": (1.0, 0.0),
    "both at their margins": (1.0, 1.0),
    "twice the margins": (2.0, 2.0),
}
"""Name → loss in both criteria, in margins."""


@cache
def candidates_of(name: str) -> Candidates:
    block = NO_DIFFERENCE[name]
    return swapped(day_signs(block)) if block else resampled()


@cache
def paths_of(name: str, move: str) -> DecisionPaths:
    losses = [-loss * SHADOW.margins[quality] for quality, loss in zip(QUALITIES, MOVES[move], strict=True)]
    return decision_paths(candidates_of(name).moved(*losses))


def hourly_mcnemar(name: str) -> BoolArray | None:
    """Return whether McNemar's test ever finds a difference, at a look every hour; None for resampled days."""
    block = NO_DIFFERENCE[name]
    if not block:
        return None
    pairs = flight_pairs()
    sign = day_signs(block)
    difference, discordant = shadow_errors.hourly(pairs)
    index = np.unique(pairs.day_of_hour, return_inverse=True)[1]
    draws = shadow_errors.Draws(sign, np.ones(pairs.days), sign[:, index] * difference, discordant)
    return shadow_errors.mcnemar(slice(None), draws)


def rows() -> Iterator[str]:
    margins = ", ".join(f"{name} {SHADOW.margins[name]:g}" for name in QUALITIES)
    yield f"| {margins}; ever promoted / ever held, in % | McNemar's test, every hour | {' | '.join(MOVES)} |"
    yield "|---|--:|" + "--:|" * len(MOVES)
    for name in NO_DIFFERENCE:
        cells = []
        for move in MOVES:
            paths = paths_of(name, move)
            cells.append(
                " / ".join(
                    shadow_errors.percent(np.asarray(each.any(axis=1), np.bool_))
                    for each in (paths.promotes, paths.holds)
                )
            )
        yield f"| {name} | {shadow_errors.percent(hourly_mcnemar(name))} | " + " | ".join(cells) + " |"
    yield ""
    yield "| candidate | decision | day by which 10 / 50 / 80 / 90% are decided | in 2013 |"
    yield "|---|---|---|--:|"
    for name, sign, right in (("without weather", -1.0, 1), ("with weather", 1.0, 0)):
        days = decision_days(sign)[right]
        of_year = decision_days_of_the_year(sign)[right]
        yield f"| {name} | {('promote', 'hold')[right]} | {quantiles(days)} | {format_day(of_year)} |"


def quantiles(days: FloatArray, shares: Sequence[float] = (0.1, 0.5, 0.8, 0.9)) -> str:
    return " / ".join(format_day(np.sort(days)[int(np.ceil(share * len(days))) - 1]) for share in shares)


def format_day(day: float) -> str:
    return "–" if np.isinf(day) else f"{day:.0f}"
