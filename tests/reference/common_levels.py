"""How often days with a common level exceed the threshold of `major`: `python -m tests.reference.common_levels`.

The field is that of the scoreboard's generated data: a level with autocorrelation 0.9 from hour to hour, and
independent values around it, in ten equal bins. φ is learned from all days; "median" is φ fitted at the median alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from barograph_server.sketches.detection.psi_power import level_threshold
from barograph_server.sketches.drift.overdispersion import learn_phi
from benchmarks.scoreboard.data_sets import AUTOCORRELATION, LEVEL_SD

DAYS, BINS = 20_000, 10
EVENTS = (480, 4_800, 24_000)
"""Events in a day, as at the three volumes of the scoreboard."""
MINOR, MAJOR = 0.1, 0.2


def main() -> None:
    rng = np.random.default_rng(1)
    shares = day_shares(rng)
    print("events  phi    days beyond major  by phi x chi2  phi, median  days beyond major")
    for n in EVENTS:
        counts = rng.multinomial(n, shares)
        q = (counts + 0.5 / BINS) / (n + 0.5)
        t = n * ((q - 1 / BINS) * np.log(q * BINS)).sum(axis=1)
        of_median = max(1.0, float(np.median(t) / chi2.ppf(0.5, BINS - 1)))
        phi = learn_phi(t[:, None], np.full((DAYS, 1), BINS - 1), np.full((DAYS, 1), n)).value.item()
        beyond, nominal = _beyond(t, n, phi)
        print(f"{n:6,} {phi:6.1f} {beyond:17.2%} {nominal:14.0e} {of_median:12.1f} {_beyond(t, n, of_median)[0]:18.2%}")


def _beyond(t: NDArray[np.float64], n: int, phi: float) -> tuple[float, float]:
    threshold = level_threshold(n / phi, BINS - 1, MINOR, MAJOR)
    return float((t / n > threshold).mean()), float(chi2.sf(n / phi * threshold, BINS - 1))


def day_shares(rng: np.random.Generator) -> NDArray[np.float64]:
    steps = rng.normal(size=24 * DAYS) * LEVEL_SD * np.sqrt(1 - AUTOCORRELATION**2)
    levels = np.zeros(len(steps))
    for i in range(1, len(steps)):
        levels[i] = AUTOCORRELATION * levels[i - 1] + steps[i]
    edges = norm.ppf(np.arange(BINS + 1) / BINS) * np.sqrt(1 + LEVEL_SD**2)
    of_hour = np.diff(norm.cdf(edges - levels[:, None]), axis=1)
    result: NDArray[np.float64] = of_hour.reshape(DAYS, 24, BINS).mean(axis=1)
    return result


if __name__ == "__main__":
    main()
