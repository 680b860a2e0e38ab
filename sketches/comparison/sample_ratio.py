"""Whether the units of an A/B test were assigned to its arms in the shares that were meant: sample-ratio mismatch.

A test that is looked at again and again cannot use a p-value for one look: at 336 looks χ² at α = 0.001 alarms in
several per cent of sound tests. Here p may be looked at after every unit: with k arms, promised shares θ and counts
n = (n₁ … n_k) of distinct units

    E = mean over c of  Γ(c)/Γ(c + Σn) · Πᵢ Γ(c·θᵢ + nᵢ)/Γ(c·θᵢ) / Πᵢ θᵢ^nᵢ ,   c ∈ {10, 100, 1,000, 10,000}
    p = min(1, 1/E),  and the p of a test is the least of all its looks.

E is the likelihood of the counts under shares drawn from Dirichlet(c·θ), divided by that under θ itself. Units that are
assigned by θ make it a martingale of mean 1, so that by Ville's inequality it ever reaches 1/α with probability at most
α, however often one looks and whenever one stops. Small c look for gross mismatch among few units, large ones for a
point among many; taking the mean of the four costs at most a factor of 4.

Only units that were assigned independently count. Requests do not: those of one user all go to one arm.

Source: Lindon & Malek, "Anytime-Valid Inference For Multinomial Count Data", NeurIPS 2022 (arXiv 2011.03567).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, logsumexp

from sketches.baseline.levels import Level

FloatArray = NDArray[np.float64]

CONCENTRATIONS = np.array([10.0, 100.0, 1_000.0, 10_000.0])
MAJOR_ALPHA = 0.001
MINOR_ALPHA = 0.01
SHOWN_POINTS = 0.05
"""A mismatch of five points must be able to show before a ratio is called `stable`."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """What is known of the ratio at one look."""

    p_value: float
    """The least over all looks so far: the probability that a sound test ever comes this far is at most p."""
    level: Level
    """`major` at p ≤ 0.001, `minor` at p ≤ 0.01; else `stable` where five points would have shown, or
    `insufficient`."""


def sample_ratio(units: ArrayLike, shares: ArrayLike, least_before: float = 1.0) -> SampleRatio:
    """Judge the ratio of arms at one look.

    Args:
        units: distinct units per arm since the test began, (k,); k ≥ 2.
        shares: the share of units that each arm was meant to get, (k,); positive, their sum is 1 up to rounding.
        least_before: the least p of the looks before; 1 at the first.

    Raises:
        ValueError: shapes do not fit, a count is negative, or a share is not positive.
    """
    counts, promised = _checked(units, shares)
    p = min(least_before, float(anytime_p(counts, promised)))
    if p <= MAJOR_ALPHA:
        level = Level.major
    elif p <= MINOR_ALPHA:
        level = Level.minor
    else:
        level = Level.stable if _would_show(float(counts.sum()), promised) else Level.insufficient
    return SampleRatio(p, level)


def anytime_p(units: ArrayLike, shares: ArrayLike) -> FloatArray:
    """1/E, at most 1, of each look by itself.

    Args:
        units: distinct units per arm, (…, k); fractions are welcome.
        shares: as `sample_ratio` has them.

    Returns:
        Shape (…); the p of a test is the running minimum over its looks.

    Raises:
        ValueError: as `sample_ratio`.
    """
    counts, promised = _checked(units, shares)
    a = CONCENTRATIONS[:, None] * promised
    n = counts[..., None, :]
    log_e = (
        gammaln(CONCENTRATIONS)
        - gammaln(CONCENTRATIONS + n.sum(axis=-1))
        + (gammaln(a + n) - gammaln(a) - n * np.log(promised)).sum(axis=-1)
    )
    log_mean = logsumexp(log_e, axis=-1) - np.log(len(CONCENTRATIONS))
    return np.asarray(np.exp(-np.maximum(log_mean, 0.0)), np.float64)


def _would_show(n: float, shares: FloatArray) -> bool:
    """Whether n units in shares that are five points off would give p ≤ 0.001."""
    order = np.argsort(shares)
    moved = shares.copy()
    points = min(SHOWN_POINTS, float(shares[order[-1]]) / 2.0)
    moved[order[-1]] -= points
    moved[order[0]] += points
    return bool(anytime_p(n * moved, shares) <= MAJOR_ALPHA)


def _checked(units: ArrayLike, shares: ArrayLike) -> tuple[FloatArray, FloatArray]:
    counts, promised = np.asarray(units, np.float64), np.asarray(shares, np.float64)
    if promised.ndim != 1 or len(promised) < 2 or counts.ndim < 1 or counts.shape[-1] != len(promised):
        raise ValueError(f"units and shares are of the same two arms or more, not {counts.shape} and {promised.shape}")
    if not (promised > 0.0).all() or not np.isclose(promised.sum(), 1.0, atol=1e-6):
        raise ValueError(f"shares are positive and add up to 1, not {promised.tolist()}")
    if counts.size and not counts.min() >= 0.0:
        raise ValueError("a count of units is negative")
    return counts, promised / promised.sum()
