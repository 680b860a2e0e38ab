"""Coverage of the intervals of `sketches.judges`, by simulation with fixed seeds.

`python -m tests.reference.judges` prints the table of docs/statistics.md in about half a minute of one core;
`tests/property/test_judges.py` checks them. Coverage is the share of intervals that contain the true rate, among the
runs with an interval.
"""

from __future__ import annotations

import sys
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import Z
from barograph_server.sketches.judges.fault_rate import FaultRate
from barograph_server.sketches.judges.strata import strata_rate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Rng = np.random.Generator
RUNS = 2000
JUDGED = 5000


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
    with np.errstate(divide="ignore", invalid="ignore"):
        delta = delta_interval(flagged / JUDGED, JUDGED, f1 / (f1 + f0), f1 + f0, s0 / (s1 + s0), s1 + s0)
    return {
        "Rogan–Gladen, delta": behaviour(delta, p),
        "gold alone": of_rate(result.gold_only, p),
        "strata": of_rate(result.rate, p),
    }


def coverage(cell: Cell, runs: int = RUNS, seed: int = 63) -> dict[str, Interval]:
    rng = np.random.default_rng([seed, *(round(100 * number) for number in cell)])
    return random_gold(cell, runs, rng)


def print_coverage(runs: int = RUNS) -> None:
    names = list(coverage(CELLS[0], 50))
    print("| faults, Se, Sp, gold | " + " | ".join(names) + " |\n|---|" + "--:|" * len(names))
    for cell in CELLS:
        each = coverage(cell, runs)
        figures = [f"{100 * interval.coverage:.0f} / {interval.width:.3f}" for interval in each.values()]
        name = f"{100 * cell.faults:.0f}%, {cell.sensitivity}, {cell.specificity}, {cell.gold}"
        print(f"| {name} | {' | '.join(figures)} |")
    shares = [coverage(cell, runs, seed=64)["strata"].coverage for cell in ALL_CELLS]
    print(f"strata in {len(ALL_CELLS)} cells: {100 * min(shares):.1f} to {100 * max(shares):.1f}%")


if __name__ == "__main__":
    print_coverage(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
