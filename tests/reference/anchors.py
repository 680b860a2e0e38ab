"""How soon judges that became worse are found on frozen anchors, and how often others are, by simulation.

`python -m tests.reference.anchors` prints the tables of docs/statistics.md; `tests/property/test_judges.py` checks
them. `even` judges find each anchor right with the same probability, so that verdicts vary as much as possible; those
of `usual` judges are Beta distributed: they vary on a few difficult anchors.
"""

import sys
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.judges.anchors import TICKET_E_VALUE, anchor_drift

JUDGES = 2000
RUNS = 60
"""Runs of a judge on its anchors, and of its bank."""
SOON = 20
"""Runs within which the product promises to find a loss of 5 %."""
ANCHORS = 100
RATES = (0.7, 0.8, 0.9, 0.95)
DROPS = (0.0, 0.03, 0.05, 0.1)
"""Parts of the right verdicts that a judge loses."""
SPREAD = 0.3
"""a + b of the Beta distribution of `usual` judges."""
Kind = Literal["even", "usual"]
Pairing = Literal["each run of the bank once", "one run of the bank again and again"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
FloatArray = NDArray[np.float64]


def first_tickets(
    kind: Kind,
    rate: float,
    drop: float,
    *,
    anchors: int = ANCHORS,
    judges: int = JUDGES,
    pairing: Pairing = PAIRINGS[0],
    seed: int = 65,
) -> FloatArray:
    """Return the run at which each judge is found, counted from 1, shape (judges,); infinite if it is not.

    `rate` is the share of right verdicts at the release, `drop` the part of them that the judge loses.
    """
    rng = np.random.default_rng([seed, round(1000 * rate), round(1000 * drop), anchors])
    shape = judges, anchors
    p = np.full(shape, rate) if kind == "even" else rng.beta(SPREAD * rate, SPREAD * (1.0 - rate), size=shape)
    lost, gained = np.empty((judges, RUNS)), np.empty((judges, RUNS))
    frozen = rng.random(shape) < p
    for run in range(RUNS):
        if pairing == "each run of the bank once" and run:
            frozen = rng.random(shape) < p
        now = rng.random(shape) < p * (1.0 - drop)
        lost[:, run], gained[:, run] = (frozen & ~now).sum(axis=1), (~frozen & now).sum(axis=1)
    has_drifted = anchor_drift(lost, gained).has_drifted
    return np.where(has_drifted[:, -1], has_drifted.argmax(axis=1) + 1.0, np.inf)


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def print_rates(judges: int = JUDGES) -> None:
    print(f"{ANCHORS} anchors, ticket at E ≥ {TICKET_E_VALUE:g}\n")
    losses = " | ".join(f"−{100 * drop:.0f}%, {SOON} runs" for drop in DROPS[1:])
    print(f"| judge | right verdicts | no drift, {RUNS} runs | {losses} |\n|---|--:|--:|--:|--:|--:|")
    for kind in get_args(Kind)[::-1]:
        for rate in RATES:
            runs = [first_tickets(kind, rate, drop, judges=judges) for drop in DROPS]
            shares = [np.mean(runs[0] <= RUNS), *(np.mean(each <= SOON) for each in runs[1:])]
            print(f"| {kind} | {100 * rate:.0f}% | " + " | ".join(percent(float(share)) for share in shares) + " |")


def print_sizes(judges: int = JUDGES) -> None:
    print(f"\n| even judges, −5%, {SOON} runs | " + " | ".join(f"{100 * rate:.0f}% right" for rate in RATES) + " |")
    print("|---|" + "--:|" * len(RATES))
    for anchors in (50, 100, 200, 600):
        shares = [np.mean(first_tickets("even", rate, 0.05, anchors=anchors, judges=judges) <= SOON) for rate in RATES]
        print(f"| {anchors} anchors | " + " | ".join(percent(float(share)) for share in shares) + " |")


def print_pairings(judges: int = JUDGES) -> None:
    print(f"\n| even judge, 90% right, {RUNS} runs | no drift | −3% | −5% | −10% |\n|---|--:|--:|--:|--:|")
    for pairing in PAIRINGS:
        texts = []
        for drop in DROPS:
            runs = first_tickets("even", 0.9, drop, judges=judges, pairing=pairing)
            tickets = runs[np.isfinite(runs)]
            texts.append(percent(len(tickets) / judges) + (f", run {np.median(tickets):.0f}" if drop else ""))
        print(f"| {pairing} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else JUDGES
    print_rates(count)
    print_sizes(count)
    print_pairings(count)
