"""Coverage of the intervals of `sketches.judges`, by simulation with fixed seeds.

`python -m tests.reference.judges` prints the tables of docs/statistics.md in about half a minute of one core;
`tests/property/test_judges.py` checks them. Coverage is the share of intervals that contain the true rate, among the
runs with an interval.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import Z, wilson
from barograph_server.sketches.judges.active_labels import active_rate, sampling_probabilities
from barograph_server.sketches.judges.external_gold import external_gold_rate
from barograph_server.sketches.judges.fault_rate import FaultRate
from barograph_server.sketches.judges.graded import graded_rate
from barograph_server.sketches.judges.strata import strata_rate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Rng = np.random.Generator
RUNS = 2000
JUDGED = 5000
RESAMPLES = 500


class Cell(NamedTuple):
    faults: float
    """True rate of faults."""
    sensitivity: float
    specificity: float
    gold: int
    """Labelled answers."""


CELLS = (
    Cell(0.02, 0.7, 0.95, 50),
    Cell(0.02, 0.7, 0.95, 300),
    Cell(0.02, 0.9, 0.9, 50),
    Cell(0.02, 0.9, 0.9, 100),
    Cell(0.02, 0.95, 0.95, 100),
    Cell(0.02, 0.95, 0.95, 300),
    Cell(0.1, 0.7, 0.95, 100),
    Cell(0.1, 0.9, 0.9, 100),
    Cell(0.1, 0.95, 0.95, 50),
    Cell(0.1, 0.95, 0.95, 300),
    Cell(0.3, 0.7, 0.95, 100),
    Cell(0.3, 0.9, 0.9, 300),
    Cell(0.3, 0.95, 0.95, 50),
)
ALL_CELLS = tuple(
    Cell(p, *judge, n)
    for p, judge, n in product((0.02, 0.1, 0.3), ((0.7, 0.95), (0.9, 0.9), (0.95, 0.95)), (50, 100, 200, 300))
)


class Interval(NamedTuple):
    coverage: float
    """Share of the intervals that contain the true rate; runs without an interval do not count."""
    width: float
    missing: float
    """Share of the runs without an interval."""


def behaviour(ends: ArrayLike, truth: float) -> Interval:
    """Summarize the ends of intervals, (2, runs); NaN where a run has none."""
    lows, highs = np.asarray(ends, np.float64)
    is_known = np.isfinite(lows) & np.isfinite(highs)
    covers = (lows <= truth) & (truth <= highs)
    width = float(np.median((highs - lows)[is_known])) if is_known.any() else np.nan
    return Interval(float(covers[is_known].mean()), width, float(1.0 - is_known.mean()))


def of_rate(rate: FaultRate, truth: float) -> Interval:
    return behaviour(np.stack((rate.low, rate.high)), truth)


def delta_interval(
    q: FloatArray, rows: int, se: FloatArray, n1: ArrayLike, sp: FloatArray, n0: ArrayLike
) -> FloatArray:
    """Return the ends of Rogan and Gladen's interval by the delta method, (2, runs); NaN if Se + Sp is at most 1."""
    youden = np.where(se + sp > 1.0, se + sp - 1.0, np.nan)
    p = (q + sp - 1.0) / youden
    of_se, of_sp = se * (1.0 - se) / np.asarray(n1), sp * (1.0 - sp) / np.asarray(n0)
    half = Z * np.sqrt(q * (1.0 - q) / rows + p * p * of_se + (1.0 - p) ** 2 * of_sp) / youden
    return np.asarray(np.clip(np.stack((p - half, p + half)), 0.0, 1.0), np.float64)


def random_gold(cell: Cell, runs: int, rng: Rng) -> dict[str, Interval]:
    p, se, sp, n = cell
    joint = [p * se, p * (1.0 - se), (1.0 - p) * (1.0 - sp), (1.0 - p) * sp]
    gold, others = rng.multinomial(n, joint, size=runs), rng.multinomial(JUDGED - n, joint, size=runs)
    f1, f0, s1, s0 = gold.T
    flagged = gold[:, [0, 2]].sum(axis=1) + others[:, [0, 2]].sum(axis=1)
    result = strata_rate(JUDGED, flagged, f1 + s1, f1, f0 + s0, f0)
    other_flagged = others[:, [0, 2]].sum(axis=1)
    graded = graded_rate(
        np.stack((np.full(runs, n), f1 + f0, f1 + s1, f1 + s1, f1), axis=-1),
        np.stack((np.full(runs, JUDGED - n), other_flagged, other_flagged), axis=-1),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        delta = delta_interval(flagged / JUDGED, JUDGED, f1 / (f1 + f0), f1 + f0, s0 / (s1 + s0), s1 + s0)
    return {
        "A: Rogan–Gladen, delta": behaviour(delta, p),
        "A: PPI++, normal": of_rate(graded.judged.rate, p),
        "A: gold alone": of_rate(result.gold_only, p),
        "A: strata": of_rate(result.rate, p),
    }


def external_gold(cell: Cell, runs: int, rng: Rng) -> dict[str, Interval]:
    p, se, sp, n = cell
    half = n // 2
    flagged = rng.binomial(JUDGED, p * se + (1.0 - p) * (1.0 - sp), size=runs)
    k1, k0 = rng.binomial(half, se, size=runs), rng.binomial(half, sp, size=runs)
    lang_reiczigel = external_gold_rate(JUDGED, flagged, half, k1, half, k0).rate
    delta = delta_interval(flagged / JUDGED, JUDGED, k1 / half, half, k0 / half, half)
    return {
        "B: Rogan–Gladen, delta": behaviour(delta, p),
        "B: Lang–Reiczigel": of_rate(lang_reiczigel, p),
        "B: bootstrap": behaviour(_bootstrap(flagged, k1, k0, half, rng), p),
    }


def _bootstrap(flagged: IntArray, k1: IntArray, k0: IntArray, half: int, rng: Rng) -> FloatArray:
    """Return percentile intervals of Rogan and Gladen's estimate, (2, runs)."""
    size = (RESAMPLES, len(flagged))
    q = rng.binomial(JUDGED, flagged / JUDGED, size=size) / JUDGED
    se, sp = rng.binomial(half, k1 / half, size=size) / half, rng.binomial(half, k0 / half, size=size) / half
    youden = np.where(se + sp > 1.0, se + sp - 1.0, np.nan)
    return np.asarray(np.nanquantile(np.clip((q + sp - 1.0) / youden, 0.0, 1.0), (0.025, 0.975), axis=0))


def coverage(cell: Cell, runs: int = RUNS, seed: int = 63) -> dict[str, Interval]:
    rng = np.random.default_rng([seed, *(round(100 * number) for number in cell)])
    return random_gold(cell, runs, rng) | external_gold(cell, runs, rng)


def product_coverage(cell: Cell, runs: int = RUNS, seed: int = 64) -> tuple[float, float]:
    rng = np.random.default_rng([seed, *(round(100 * number) for number in cell)])
    strata = random_gold(cell, runs, rng)["A: strata"].coverage
    p, se, sp, n = cell
    flagged = rng.binomial(JUDGED, p * se + (1.0 - p) * (1.0 - sp), size=runs)
    k1, k0 = rng.binomial(n // 2, se, size=runs), rng.binomial(n // 2, sp, size=runs)
    return strata, of_rate(external_gold_rate(JUDGED, flagged, n // 2, k1, n // 2, k0).rate, p).coverage


@dataclass(frozen=True)
class Labelling:
    name: str
    probabilities: Callable[[FloatArray, float], FloatArray]
    is_weighted: bool = True


def _even(scores: FloatArray, budget: float) -> FloatArray:
    return np.full(len(scores), budget / len(scores))


LABELLINGS = (
    Labelling("at random", _even),
    Labelling("by doubt", sampling_probabilities),
    Labelling("by doubt, without weights", sampling_probabilities, is_weighted=False),
)
ACTIVE = ((0.05, 100), (0.2, 300))
"""(rate of faults, labels) of the table of active labels."""


def active_coverage(
    labelling: Labelling, faults: float, budget: int, runs: int = 1000, seed: int = 66
) -> tuple[Interval, float]:
    """Return the behaviour of the interval, and the mean number of labels. Scores are calibrated: Beta(p, 1 − p)."""
    rng = np.random.default_rng([seed, round(100 * faults), budget])
    ends, counts = np.full((2, runs), np.nan), np.zeros(runs)
    for run in range(runs):
        scores = rng.beta(faults, 1.0 - faults, size=JUDGED)
        labels = (rng.random(JUDGED) < scores).astype(np.int64)
        pi = labelling.probabilities(scores, float(budget))
        drawn = np.flatnonzero(rng.random(JUDGED) < pi)
        counts[run] = len(drawn)
        if labelling.is_weighted:
            rate = active_rate(scores, drawn, labels[drawn], pi[drawn])
            ends[:, run] = float(rate.low), float(rate.high)
        else:
            low, high = wilson(labels[drawn].sum(), len(drawn))
            ends[:, run] = float(low), float(high)
    return behaviour(ends, faults), float(counts.mean())


def print_coverage(runs: int = RUNS) -> None:
    names = list(coverage(CELLS[0], 50))
    print("| faults, Se, Sp, gold | " + " | ".join(names) + " |\n|---|" + "--:|" * len(names))
    for cell in CELLS:
        each = coverage(cell, runs)
        figures = [f"{100 * interval.coverage:.0f} / {interval.width:.3f}" for interval in each.values()]
        name = f"{100 * cell.faults:.0f}%, {cell.sensitivity}, {cell.specificity}, {cell.gold}"
        print(f"| {name} | {' | '.join(figures)} |")
    pairs = np.array([product_coverage(cell, runs) for cell in ALL_CELLS])
    for name, column in zip(("strata", "Lang–Reiczigel"), pairs.T, strict=True):
        print(f"{name} in {len(ALL_CELLS)} cells: {100 * column.min():.1f} to {100 * column.max():.1f}%")


def print_active(runs: int = 1000) -> None:
    print("\n| labels | " + " | ".join(f"{100 * p:.0f}% faults, {n} labels" for p, n in ACTIVE) + " |\n|---|--:|--:|")
    for labelling in LABELLINGS:
        figures = [active_coverage(labelling, p, n, runs)[0] for p, n in ACTIVE]
        texts = [f"{100 * each.coverage:.0f} / {each.width:.3f}" for each in figures]
        print(f"| {labelling.name} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    print_coverage(runs)
    print_active(min(runs, 1000))
