"""Sample-ratio mismatch: whether the units of an A/B test were assigned to its arms in the planned shares.

A test that is monitored continuously cannot use a p-value for a single look: with 336 looks, χ² at α = 0.001 alarms in
several percent of sound tests. This p stays valid after every unit: with k arms, planned shares θ and counts
n = (n₁ … n_k) of distinct units

    E = mean over c of  Γ(c)/Γ(c + Σn) · Πᵢ Γ(c·θᵢ + nᵢ)/Γ(c·θᵢ) / Πᵢ θᵢ^nᵢ ,   c ∈ {10, 100, 1,000, 10,000}
    p = min(1, 1/E),  and the p of a test is the minimum over its looks.

E is the likelihood of the counts under shares drawn from Dirichlet(c·θ), divided by that under θ itself. Units that are
assigned by θ make it a martingale of mean 1, so by Ville's inequality the probability that it ever reaches 1/α is at
most α, for any number of looks and any stopping rule. Small c detect gross mismatch among few units, large c a point
among many; the mean of the four costs at most a factor of 4.

Only independently assigned units count. Requests are not: those of one user all go to one arm.

Source: Lindon & Malek, "Anytime-Valid Inference For Multinomial Count Data", NeurIPS 2022 (arXiv 2011.03567).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, logsumexp

from barograph_server.sketches.baseline.levels import InsufficientReason, Level

FloatArray = NDArray[np.float64]

CONCENTRATIONS = np.array([10.0, 100.0, 1_000.0, 10_000.0])
MAJOR_ALPHA = 0.001
MINOR_ALPHA = 0.01
DETECTABLE_POINTS = 0.05
"""Mismatch, as a share, that must be detectable before a ratio is called `stable`."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    p_value: float
    """Minimum over all looks so far: a sound test ever gets this low with probability at most p."""
    level: Level
    """`major` at p ≤ 0.001, `minor` at p ≤ 0.01; else `stable` if five points would be detected, or
    `insufficient`."""
    reason: InsufficientReason = InsufficientReason.none


def sample_ratio(units: ArrayLike, shares: ArrayLike, least_before: float = 1.0) -> SampleRatio:
    """Judge the ratio of arms at one look.

    Args:
        units: distinct units per arm since the test began, (k,); k ≥ 2.
        shares: planned share of units of each arm, (k,); positive, their sum is 1 up to rounding.
        least_before: minimum p of the earlier looks; 1 at the first.

    Raises:
        ValueError: shapes do not fit, a count is negative, or a share is not positive.
    """
    counts, planned = _checked(units, shares)
    p = min(least_before, float(anytime_p(counts, planned)))
    if p <= MAJOR_ALPHA:
        level = Level.major
    elif p <= MINOR_ALPHA:
        level = Level.minor
    else:
        level = Level.stable if _is_detectable(float(counts.sum()), planned) else Level.insufficient
    reason = InsufficientReason.none
    if level == Level.insufficient:
        reason = InsufficientReason.too_few_units if counts.any() else InsufficientReason.no_units
    return SampleRatio(p, level, reason)


def anytime_p(units: ArrayLike, shares: ArrayLike) -> FloatArray:
    """Return 1/E, at most 1, of each look by itself.

    Args:
        units: distinct units per arm, (…, k); may be fractions.

    Returns:
        Shape (…); the p of a test is the running minimum over its looks.

    Raises:
        ValueError: as `sample_ratio`.
    """
    terms = log_evidence_terms(units, shares)
    log_mean = logsumexp(terms, axis=-1) - np.log(len(CONCENTRATIONS))
    return np.asarray(np.exp(-np.maximum(log_mean, 0.0)), np.float64)


def log_evidence_terms(units: ArrayLike, shares: ArrayLike) -> FloatArray:
    """Return the logarithm of each likelihood ratio whose mean is E, (…, len(CONCENTRATIONS)).

    Args:
        units: as for `anytime_p`.

    Raises:
        ValueError: as `sample_ratio`.
    """
    counts, planned = _checked(units, shares)
    a = CONCENTRATIONS[:, None] * planned
    n = counts[..., None, :]
    terms = (
        gammaln(CONCENTRATIONS)
        - gammaln(CONCENTRATIONS + n.sum(axis=-1))
        + (gammaln(a + n) - gammaln(a) - n * np.log(planned)).sum(axis=-1)
    )
    return np.asarray(terms, np.float64)


def _is_detectable(n: float, shares: FloatArray) -> bool:
    """Whether n units with a mismatch of five points would give p ≤ 0.001."""
    order = np.argsort(shares)
    moved = shares.copy()
    points = min(DETECTABLE_POINTS, float(shares[order[-1]]) / 2.0)
    moved[order[-1]] -= points
    moved[order[0]] += points
    return bool(anytime_p(n * moved, shares) <= MAJOR_ALPHA)


def _checked(units: ArrayLike, shares: ArrayLike) -> tuple[FloatArray, FloatArray]:
    counts, planned = np.asarray(units, np.float64), np.asarray(shares, np.float64)
    if planned.ndim != 1 or len(planned) < 2 or counts.ndim < 1 or counts.shape[-1] != len(planned):
        raise ValueError(f"units and shares need the same two or more arms, not {counts.shape} and {planned.shape}")
    if not (planned > 0.0).all() or not np.isclose(planned.sum(), 1.0, atol=1e-6):
        raise ValueError(f"shares must be positive and add up to 1, not {planned.tolist()}")
    if counts.size and not counts.min() >= 0.0:
        raise ValueError("a count of units is negative")
    return counts, planned / planned.sum()
