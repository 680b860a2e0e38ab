"""Coverage of the intervals of `sketches.judges`, among runs with an interval, by simulation with fixed seeds.

`python -m tests.reference.judges` prints the tables of docs/statistics.md in about five minutes;
`tests/property/test_judges.py` checks them.
"""

import sys
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.judges.fault_rate import FaultRate
from barograph_server.sketches.judges.label_errors import label_errors
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
    Cell(0.02, 0.95, 0.95, 300),
    Cell(0.1, 0.9, 0.9, 100),
    Cell(0.3, 0.7, 0.95, 100),
    Cell(0.3, 0.95, 0.95, 50),
)
RATE = ("value", "low", "high", "reason")
ALL_CELLS = tuple(
    Cell(p, *judge, n)
    for p, judge, n in product((0.02, 0.1, 0.3), ((0.7, 0.95), (0.9, 0.9), (0.95, 0.95)), (50, 100, 200, 300))
)


class LabelCell(NamedTuple):
    """Labels of people who are wrong, for 250 answers."""

    faults: float
    on_sound: float
    """Share of the sound answers that a person calls faulty."""
    on_faulty: float
    """Share of the faulty answers that a person calls sound."""
    reviewers: int = 2
    """Labels of each of the first `twice` answers; of the others one. The last one counts."""
    twice: int = 250
    shared: float = 0.0
    """Share of the answers about which all reviewers say the same, right or wrong."""
    sensitivity: float = 0.85
    specificity: float = 0.92


LABEL_GOLD = 250
SYMMETRIC = tuple(LabelCell(p, error, error) for p, error in product((0.02, 0.1, 0.3), (0.03, 0.05, 0.08)))
ONE_SIDED = tuple(LabelCell(p, *errors) for p, errors in product((0.02, 0.3), ((0.02, 0.25), (0.06, 0.01))))


class Interval(NamedTuple):
    coverage: float
    """Share of the intervals that contain the true rate; runs without an interval do not count."""
    width: float


def behaviour(ends: ArrayLike, truth: float) -> Interval:
    lows, highs = np.asarray(ends, np.float64)
    is_known = np.isfinite(lows) & np.isfinite(highs)
    covers = (lows <= truth) & (truth <= highs)
    width = float(np.median((highs - lows)[is_known])) if is_known.any() else np.nan
    return Interval(float(covers[is_known].mean()), width)


def of_rate(rate: FaultRate, truth: float) -> Interval:
    return behaviour(np.stack((rate.low, rate.high)), truth)


def coverage(cell: Cell, runs: int = RUNS, seed: int = 63) -> dict[str, Interval]:
    rng = np.random.default_rng([seed, *(round(100 * number) for number in cell)])
    p, se, sp, n = cell
    joint = [p * se, p * (1.0 - se), (1.0 - p) * (1.0 - sp), (1.0 - p) * sp]
    gold, others = rng.multinomial(n, joint, size=runs), rng.multinomial(JUDGED - n, joint, size=runs)
    f1, f0, s1, s0 = gold.T
    flagged = gold[:, [0, 2]].sum(axis=1) + others[:, [0, 2]].sum(axis=1)
    result = strata_rate(JUDGED, flagged, f1 + s1, f1, f0 + s0, f0)
    return {"gold alone": of_rate(result.gold_only, p), "strata": of_rate(result.rate, p)}


def label_coverage(cell: LabelCell, runs: int = RUNS, seed: int = 76) -> dict[str, Interval]:
    """Return the coverage if labels count as truth, and if the rate allows for the errors that agreement shows."""
    rng = np.random.default_rng([seed, *(round(1000 * number) for number in cell)])
    p, se, sp = cell.faults, cell.sensitivity, cell.specificity
    truth = rng.random((runs, LABEL_GOLD)) < p
    flagged = rng.random(truth.shape) < np.where(truth, se, 1.0 - sp)
    wrong = rng.random((3, *truth.shape)) < np.where(truth, cell.on_faulty, cell.on_sound)
    labels = truth ^ np.where(rng.random(truth.shape) < cell.shared, wrong[0], wrong)
    twice = cell.twice if cell.reviewers > 1 else 0
    counted = np.where(np.arange(LABEL_GOLD) < twice, labels[cell.reviewers - 1], labels[0])
    others = rng.binomial(JUDGED - LABEL_GOLD, p * se + (1.0 - p) * (1.0 - sp), runs)
    parts = (flagged, flagged & counted, ~flagged, ~flagged & counted)
    n1, f1, n0, f0 = (part.sum(axis=1) for part in parts)
    rates = strata_rate(JUDGED, others + n1, n1, f1, n0, f0).rate
    allowed = []
    for run in range(runs):
        faulty, by = labels[:2, run, :twice].sum(axis=0), flagged[run, :twice]
        errors = label_errors([np.bincount(faulty[by == each], minlength=3) for each in (True, False)])
        rate = errors.corrected(FaultRate(*(np.asarray(getattr(rates, name)[run]) for name in RATE)))
        allowed.append((rate.low, rate.high))
    return {"truth": of_rate(rates, p), "allowed": behaviour(np.array(allowed).T, p)}


def print_label_coverage(runs: int = RUNS) -> None:
    columns: tuple[dict[str, Any], ...] = ({"reviewers": 1}, {}, {"reviewers": 3}, {"twice": 50})
    print("\n| faults, errors on sound, faulty | truth | two labels | three labels | two of 50 |\n|---|" + "--:|" * 4)
    for cell in SYMMETRIC + ONE_SIDED:
        allowed = [label_coverage(cell._replace(**changes), runs)["allowed"] for changes in columns]
        figures = [f"{100 * interval.coverage:.1f} / {interval.width:.3f}" for interval in allowed]
        print(f"| {cell.faults:.0%}, {cell.on_sound:.0%}, {cell.on_faulty:.0%} | {' | '.join(figures)} |")
    for changes in ({"twice": 20}, {"sensitivity": 0.5, "specificity": 0.5}, {"shared": 0.2}, {"shared": 0.5}):
        results = [label_coverage(cell._replace(**changes), runs) for cell in SYMMETRIC]
        shares = [each["allowed"].coverage for each in results]
        widths = [each["allowed"].width / each["truth"].width for each in results]
        print(f"{changes}: {min(shares):.1%} to {max(shares):.1%}, width times {min(widths):.1f} to {max(widths):.1f}")


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
    count = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    print_coverage(count)
    print_label_coverage(count // 2)
