"""Drift of a judge on frozen anchors: answers with a known label that never change.

When a judge is released, it judges all anchors 30 to 60 times: the bank. Each later run is paired with one run of the
bank that is **used once**. D = right verdicts of the bank's run − right verdicts now. Without drift D is symmetric
around 0, which the e-process of `sketches.shadow.day_evidence` tests: E for D above 0, with κ = 1 and the scale
s₀² = 2 · variance of the bank's runs (s₀ at least ½ anchor). Look after every run: by Ville's inequality E reaches 20
for at most 5 % of judges without drift. Runs of the judge must be independent. The only approximation is that s₀ is
estimated from the bank.

If one frozen run, or the mean of the bank, is used again and again, its chance error stays in all differences, and
alarms are too frequent (docs/statistics.md).

A judge that is deterministic needs no test: a verdict that changed is drift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketches.shadow.day_evidence import LEAST_SCALE, log_evidence

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TICKET_E_VALUE = 20.0
"""E-value from which a judge has drifted: at most one in 20 judges without drift ever reaches it."""
LEAST_BANK = 5
"""Fewest runs of a bank: fewer give no scale."""


@dataclass(frozen=True, slots=True)
class AnchorDrift:
    """Evidence that a judge has become worse on its anchors; arrays have the shape (..., runs)."""

    log_e: FloatArray
    """Logarithm of E after each run."""
    has_drifted: NDArray[np.bool_]
    """Whether E has reached 20 at this run or at an earlier one."""
    runs_left: int
    """Runs of the bank that are not used yet. With 0 left, judge the anchors again and start a new bank."""


def anchor_drift(bank: ArrayLike, runs: ArrayLike) -> AnchorDrift:
    """Return the evidence after each run.

    Args:
        bank: right verdicts of each run at the release, in anchors, shape (..., b) with b of at least 5.
        runs: right verdicts of each later run on the same anchors, in order, shape (..., r) with r of at most b.

    Raises:
        ValueError: the bank has less than five runs or less than the later runs, or a number is negative or not finite.
    """
    frozen, later = np.asarray(bank, np.float64), np.asarray(runs, np.float64)
    size, count = frozen.shape[-1] if frozen.ndim else 0, later.shape[-1] if later.ndim else 0
    if size < LEAST_BANK:
        raise ValueError(f"the bank has {size} runs; judge the anchors at least {LEAST_BANK} times, better 60 times")
    if count > size:
        raise ValueError(
            f"{count} runs need as many runs of the bank, which has {size}: each is used once. Start a new bank"
        )
    if not (np.all(np.isfinite(frozen) & (frozen >= 0.0)) and np.all(np.isfinite(later) & (later >= 0.0))):
        raise ValueError("right verdicts must be numbers of anchors from 0 on")
    scale = np.maximum(np.sqrt(2.0 * frozen.var(axis=-1, ddof=1)), LEAST_SCALE)
    x = (frozen[..., :count] - later) / scale[..., None]
    log_e = log_evidence(np.cumsum(x, axis=-1), np.cumsum(x * x, axis=-1)).better
    has_drifted = np.logical_or.accumulate(log_e >= np.log(TICKET_E_VALUE), axis=-1)
    return AnchorDrift(log_e, has_drifted, size - count)


def is_deterministic(bank: ArrayLike) -> bool:
    """Return whether all runs of a bank gave every anchor the same verdict.

    Args:
        bank: verdicts as codes, shape (runs, anchors), at least two runs.

    Raises:
        ValueError: the shape is another.
    """
    verdicts = np.asarray(bank)
    if verdicts.ndim != 2 or len(verdicts) < 2 or not verdicts.shape[1]:
        raise ValueError(f"verdicts must have the shape (runs, anchors) with at least two runs, not {verdicts.shape}")
    return bool(np.all(verdicts == verdicts[0]))


def changed_anchors(frozen: ArrayLike, current: ArrayLike) -> IntArray:
    """Return the indices of anchors whose verdict changed, shape (c,). For a deterministic judge each one is drift.

    Args:
        frozen: verdicts at the release as codes, shape (anchors,).
        current: verdicts now, shape (anchors,).

    Raises:
        ValueError: shapes differ, or there are no anchors.
    """
    before, after = np.asarray(frozen), np.asarray(current)
    if before.ndim != 1 or before.shape != after.shape or not before.size:
        raise ValueError(
            f"verdicts at the release {before.shape} and now {after.shape} must be of the same anchors, (anchors,)"
        )
    return np.asarray(np.flatnonzero(before != after), np.int64)
