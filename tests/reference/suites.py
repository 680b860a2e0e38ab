"""How often the intervals and decisions about evaluation suites are right: `python -m tests.reference.suites`.

Items have a probability of a right answer from a beta distribution with mean p and a + b = 2.
"""

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.comparison.paired_items import SuiteOutcome, judge_difference, paired_difference
from barograph_server.sketches.performance.metric import clustered_rate

RUNS = 2000
MARGIN = 0.1


def item_rates(rng: np.random.Generator, p: float, items: int) -> NDArray[np.float64]:
    return rng.beta(2 * p, 2 * (1 - p), items)


def coverage(rng: np.random.Generator, items: int, epochs: int, p: float) -> float:
    covered = 0
    for _ in range(RUNS):
        sums = rng.binomial(epochs, item_rates(rng, p, items))
        estimate = clustered_rate(sums, np.full(items, epochs))
        covered += bool(estimate.low <= p <= estimate.high)
    return covered / RUNS


def decisions(rng: np.random.Generator, items: int, epochs: int, p: float, loss: float) -> tuple[float, float, float]:
    """Return how often the interval of the difference contains −loss, and the shares of accept and hold."""
    covered = accepted = on_hold = 0
    for _ in range(RUNS):
        rates = item_rates(rng, p, items)
        old = rng.binomial(epochs, rates) / epochs
        difference = paired_difference(old, rng.binomial(epochs, rates * (1 - loss / p)) / epochs)
        covered += difference.low <= -loss <= difference.high
        outcome = judge_difference(difference, MARGIN, 1)
        accepted += outcome is SuiteOutcome.ACCEPT
        on_hold += outcome is SuiteOutcome.HOLD
    return covered / RUNS, accepted / RUNS, on_hold / RUNS


def main() -> None:
    rng = np.random.default_rng(24)
    print("items epochs mean  coverage of the mean score")
    for items in (50, 100):
        for epochs in (1, 4):
            for p in (0.5, 0.9, 0.97):
                print(f"{items:5} {epochs:6} {p:4}  {100 * coverage(rng, items, epochs, p):.1f} %")
    print(f"items epochs mean loss  coverage of the difference, accept, hold; margin {MARGIN}")
    for items in (60, 100, 200):
        for epochs in (1, 4):
            for p, loss in ((0.6, 0.0), (0.6, MARGIN), (0.9, 0.0), (0.9, MARGIN)):
                shares = "  ".join(f"{100 * share:.1f} %" for share in decisions(rng, items, epochs, p, loss))
                print(f"{items:5} {epochs:6} {p:4} {loss:4}  {shares}")


if __name__ == "__main__":
    main()
