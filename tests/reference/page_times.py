"""Predicted against simulated time to detection of a change.

`python -m tests.reference.page_times` prints the table of docs/statistics.md; `tests/property/test_false_alarms.py`
checks it. Events of a window of 24 hours come in runs of φ equal ones. From a random moment of an hour on they follow
the changed shares; the time ends with the first window whose verdict is `major`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.detection.delay import QUANTILES, DetectionCurve
from barograph_server.sketches.detection.psi_power import decision_exceedance
from barograph_server.sketches.detection.rate_power import count_exceedance, least_major_count
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.drift.rates import rate_verdicts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Rng = np.random.Generator
HOURS = 24
SIMULATED_HOURS = 72
RUNS = 400
TRAINED = 1_000_000
EDGES = ndtri(np.arange(1, 10) / 10)
TRAFFIC = ((50, 1), (500, 1), (5_000, 1), (100_000, 1), (5_000, 30), (100_000, 30), (100_000, 300))
"""Events of a window, and their overdispersion φ."""


@dataclass(frozen=True, slots=True)
class Change:
    name: str
    before: FloatArray
    after: FloatArray
    is_rate: bool = False
    """Whether the verdict is that of a rate: the second of two bins holds the events that count."""


def deciles(shift: float = 0.0, scale: float = 1.0) -> FloatArray:
    return np.diff(ndtr((EDGES - shift) / scale), prepend=0.0, append=1.0)


def _rate(rate: float) -> FloatArray:
    return np.array([1.0 - rate, rate])


CHANGES = (
    Change("shift 0.5 sd", deciles(), deciles(0.5)),
    Change("shift 1 sd", deciles(), deciles(1.0)),
    Change("scale 1.8", deciles(), deciles(0.0, 1.8)),
    Change("stuck", deciles(), np.eye(10)[4]),
    Change("1 to 10 % nulls", _rate(0.01), _rate(0.1), is_rate=True),
    Change("1 to 30 % nulls", _rate(0.01), _rate(0.3), is_rate=True),
)


def predicted_hours(change: Change, events: int, phi: int) -> list[float]:
    n_eff = events / phi
    if change.is_rate:
        base = TRAINED * float(change.before[1])
        least = least_major_count(round(n_eff), base, TRAINED, 0.01, 0.05)
        r0, r1 = float(change.before[1]), float(change.after[1])

        def probability(share: float) -> float:
            return count_exceedance(least, round(n_eff), r0 + share * (r1 - r0))
    else:
        df = len(change.before) - 1
        sample = {"events": events, "rows": TRAINED, "phi": phi, "df": df}

        def probability(share: float) -> float:
            return decision_exceedance(change.before, change.after, share, **sample, threshold=0.2, limits=(0.1, 0.2))

    curve = DetectionCurve(HOURS, 1.0, probability)
    return [curve.reached_s(u) for u in QUANTILES]


def simulated_hours(change: Change, events: int, phi: int, rng: Rng, runs: int = RUNS) -> FloatArray:
    """Return the hours to the first `major` verdict of each run, (runs,); infinite if none follows."""
    hours = HOURS + SIMULATED_HOURS
    begins = rng.random(runs)
    share = np.zeros((runs, hours))
    share[:, HOURS] = 1.0 - begins
    share[:, HOURS + 1 :] = 1.0
    mixed = (1.0 - share)[:, :, None] * change.before + share[:, :, None] * change.after
    runs_per_hour = rng.multinomial(events // phi, np.full(HOURS, 1 / HOURS), (runs, hours // HOURS))
    counts = phi * rng.multinomial(runs_per_hour.reshape(runs, hours), mixed / mixed.sum(axis=2, keepdims=True))
    sums = np.cumsum(counts, axis=1)
    windows = (sums[:, HOURS:] - sums[:, :-HOURS]).reshape(-1, len(change.before))
    level = _levels(change, windows, phi).reshape(runs, SIMULATED_HOURS)
    is_major = level == Level.major
    return np.where(is_major.any(axis=1), np.argmax(is_major, axis=1) + 1 - begins, math.inf)


def _levels(change: Change, windows: IntArray, phi: int) -> NDArray[np.int8]:
    base = np.rint(change.before * TRAINED).astype(np.int64)
    if change.is_rate:
        return rate_verdicts(windows[:, 1], windows.sum(axis=1), base[1], TRAINED, phi=phi).level
    return psi_verdicts(base, windows, [0], phi=phi).level[:, 0]


def quantile_texts(hours: FloatArray | list[float]) -> str:
    """Return hours as `9/11/12`; – stands for changes that a window may never detect."""
    return "/".join(f"{each:.0f}" if math.isfinite(each) else "–" for each in hours)


def table(seed: int = 21) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    yield f"| n, φ | {' | '.join(change.name for change in CHANGES)} |"
    yield f"|---|{'---|' * len(CHANGES)}"
    for events, phi in TRAFFIC:
        cells = []
        for change in CHANGES:
            simulated = np.quantile(simulated_hours(change, events, phi, rng), QUANTILES, method="lower")
            cells.append(f"{quantile_texts(predicted_hours(change, events, phi))} · {quantile_texts(simulated)}")
        yield f"| {events:,}, {phi} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for row in table():
        print(row, flush=True)
