"""How often people are wrong, from two labels of the same answers, and rates of faults that allow for it.

A person calls the share s of the faulty answers faulty, and the share a of the sound ones. With p the rate of faults,
labels say m = p s + (1 − p) a, so that p = (m − a)/(s − a). If two labels are independent given the truth, they differ
for 2 s (1 − s) of the faulty and 2 a (1 − a) of the sound answers. One group of answers leaves a curve of pairs (s, a);
two groups with other rates of faults, as the answers that the judge flags and the rest, leave a point. The deviance
r(s, a) is twice the distance of the log-likelihood from its maximum, with the likeliest rate of each group.

The interval of p is the union, over all (s, a) with r < z², of the intervals at (s, a) with both halves times
√(1 − r/z²): square-and-add, where p is linear and r quadratic. p is the mean over these (s, a), weighted by likelihood.

Assumed: s ≥ ½, a < ½, and people err alike. Errors that they share do not show in their agreement.

Source: Hui and Walter (1980), Biometrics 36, 167–171; Rogan and Gladen (1978), American Journal of Epidemiology 107,
71–76.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import Z
from barograph_server.sketches.judges.fault_rate import FaultRate, fault_rate

FloatArray = NDArray[np.float64]

LEAST_TWICE = 20
"""Fewest answers with two labels for an estimate. With fewer, labels count as truth."""
NEWTON_STEPS = 4
"""Steps to the rate of faults of a group with the largest likelihood; further ones change no figure."""
LEAST_SHARE = 1e-12
"""Keeps logarithms and steps finite where an error rate is 0."""
_S, _A = (each.ravel() for each in np.meshgrid(np.linspace(1, 0.5, 51), 0.5 * np.linspace(0, 0.95, 151) ** 2))


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """Share of the answers of one class that a person labels wrongly, with its 95 % interval; NaN if unknown."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """How often people are wrong."""

    reviewed_twice: int
    """Answers with two labels."""
    disagreements: int
    """Of these, answers whose labels differ."""
    on_sound: ErrorRate
    """Share a of the sound answers that a person calls faulty."""
    on_faulty: ErrorRate
    """Share 1 − s of the faulty answers that a person calls sound."""
    fits: FloatArray
    """s, a, r and weight of the pairs (s, a) that the labels do not rule out, (4, pairs); no pairs if unknown."""

    def corrected(self, rate: FaultRate) -> FaultRate:
        """Return the rate of faults from the rate of labels `faulty`; the same if the errors are not known."""
        if not self.fits.size:
            return rate
        s, a, deviance, weight = self.fits
        value, low, high = ((each[..., None] - a) / (s - a) for each in (rate.value, rate.low, rate.high))
        part = np.sqrt(1.0 - deviance / Z**2)
        low, high = (value - part * (value - low)).min(axis=-1), (value + part * (high - value)).max(axis=-1)
        return fault_rate(np.asarray(np.clip(value, 0.0, 1.0) @ weight), low, high, rate.reason)


def label_errors(counts: ArrayLike) -> LabelErrors:
    """Estimate how often people are wrong.

    Args:
        counts: answers with two labels by their number of labels `faulty`, for each group of answers; (groups, 3).
    """
    answers = np.asarray(counts, np.float64).reshape(-1, 3)
    twice, disagreements = int(answers.sum()), int(answers[:, 1].sum())
    if twice < LEAST_TWICE:
        unknown = ErrorRate(np.nan, np.nan, np.nan)
        return LabelErrors(twice, disagreements, unknown, unknown, np.empty((4, 0)))
    log_likelihood = np.sum([_log_likelihood(group) for group in answers if group.any()], axis=0)
    deviance = 2.0 * (log_likelihood.max() - log_likelihood)
    s, a, deviance = np.stack((_S, _A, deviance))[:, deviance < Z**2]
    weight = np.exp(-deviance / 2.0)
    weight /= weight.sum()
    on_sound, on_faulty = (ErrorRate(float(x @ weight), float(x.min()), float(x.max())) for x in (a, 1.0 - s))
    return LabelErrors(twice, disagreements, on_sound, on_faulty, np.stack((s, a, deviance, weight)))


def _log_likelihood(group: FloatArray) -> FloatArray:
    """Return the largest log-likelihood of answers with 0, 1 and 2 labels `faulty` for each pair (s, a)."""
    faulty, sound = (np.stack(((1.0 - x) ** 2, 2.0 * x * (1.0 - x), x**2)) for x in (_S, _A))
    p = ((group[1] / 2.0 + group[2]) / group.sum() - _A) / (_S - _A)
    for _ in range(NEWTON_STEPS + 1):
        p = np.clip(p, 0.0, 1.0)
        shares = np.maximum(sound + p * (faulty - sound), LEAST_SHARE)
        slope = (faulty - sound) / shares
        p = p + (group @ slope) / np.maximum(group @ slope**2, LEAST_SHARE)
    return np.asarray(group @ np.log(shares))
