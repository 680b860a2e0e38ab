"""Rate of faults if gold comes from elsewhere, such as a test set of known faulty and sound answers.

With q the flagged share of N answers, and the sensitivity Se and specificity Sp of n₁ faulty and n₀ sound answers of
gold, Rogan and Gladen's estimate is p̂ = (q + Sp − 1)/(Se + Sp − 1). The interval of Lang and Reiczigel shrinks all
shares:

    q′ = (N q + z²/2)/(N + z²), Se′ = (n₁ Se + 1)/(n₁ + 2), Sp′ = (n₀ Sp + 1)/(n₀ + 2),
    p̂′ + d ± z √v with d = 2 z² (p̂′ Se′ (1 − Se′)/(n₁ + 2) − (1 − p̂′) Sp′ (1 − Sp′)/(n₀ + 2)),
    v = (q′ (1 − q′)/(N + z²) + p̂′² Se′ (1 − Se′)/(n₁ + 2) + (1 − p̂′)² Sp′ (1 − Sp′)/(n₀ + 2))/(Se′ + Sp′ − 1)².

**It assumes that the judge has the same Se and Sp in the traffic as on gold**, which nothing here can check. Gold that
is drawn from the traffic (`sketches.judges.strata`) needs no such assumption, and is mostly more precise.

Source: Rogan and Gladen (1978), American Journal of Epidemiology 107, 71–76; Lang and Reiczigel (2014), Preventive
Veterinary Medicine 113, 13–22.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import Z, rate_of, wilson
from barograph_server.sketches.judges.fault_rate import (
    LEAST_GOLD,
    FaultRate,
    RateReason,
    checked_counts,
    fault_rate,
    first_reason,
    require_parts,
)

FloatArray = NDArray[np.float64]

LEAST_YOUDEN = 0.2
"""Se + Sp − 1 that the lower limits of Se and Sp must exceed: below it, the rate divides by almost nothing."""


@dataclass(frozen=True, slots=True)
class ExternalGoldRate:
    """Rate of faults by the sensitivity and specificity of a judge; every array has the shape of the counts."""

    rate: FaultRate
    """Rogan and Gladen's estimate, clipped to [0, 1], with the interval of Lang and Reiczigel."""
    sensitivity: FloatArray
    """Flagged share of the faulty answers of gold; NaN without one."""
    specificity: FloatArray
    """Unflagged share of the sound answers of gold; NaN without one."""


def external_gold_rate(
    judged: ArrayLike,
    flagged: ArrayLike,
    faulty_gold: ArrayLike,
    faulty_flagged: ArrayLike,
    sound_gold: ArrayLike,
    sound_unflagged: ArrayLike,
    *,
    margin: ArrayLike | None = None,
) -> ExternalGoldRate:
    """Return the rate of faults of the judged answers, corrected by gold of other traffic.

    All counts are answers, and broadcast to one shape.

    Args:
        judged: answers with a verdict, without gold.
        flagged: of these, answers that the judge calls faulty.
        faulty_flagged: of these, answers that the judge flags.
        sound_unflagged: of these, answers that the judge does not flag.
        margin: largest half-width of the interval that the promise allows; None for any.

    Returns:
        The rate is NaN without answers, without gold of a class, and if Se + Sp does not exceed 1. It is
        `insufficient` in these cases, with less than 50 labels, if the lower limits (Wilson) of Se and Sp have a sum
        of at most 1.2, and if the interval is wider than the margin.

    Raises:
        ValueError: counts contradict one another, or the margin is not above 0.
    """
    rows, marked, n1, k1, n0, k0 = checked_counts(
        judged=judged,
        flagged=flagged,
        faulty_gold=faulty_gold,
        faulty_flagged=faulty_flagged,
        sound_gold=sound_gold,
        sound_unflagged=sound_unflagged,
    )
    require_parts(
        (marked, rows, "flagged answers than judged ones"),
        (k1, n1, "flagged faulty answers in gold than faulty ones"),
        (k0, n0, "unflagged sound answers in gold than sound ones"),
    )
    has_gold = (n1 > 0) & (n0 > 0) & (rows > 0)
    sensitivity, specificity = rate_of(k1, n1), rate_of(k0, n0)
    youden = sensitivity + specificity - 1.0
    is_known = has_gold & (youden > 0.0)
    value = (rate_of(marked, rows) + specificity - 1.0) / np.where(is_known, youden, np.nan)
    low, high = _lang_reiczigel(rows, marked, n1, k1, n0, k0)
    is_weak = wilson(k1, n1)[0] + wilson(k0, n0)[0] - 1.0 <= LEAST_YOUDEN
    reason = first_reason(
        (~has_gold, RateReason.no_gold),
        (n1 + n0 < LEAST_GOLD, RateReason.little_gold),
        (is_weak | ~is_known, RateReason.weak_judge),
    )
    blank = np.where(is_known, 0.0, np.nan)
    return ExternalGoldRate(
        fault_rate(value, low + blank, high + blank, reason, margin),
        np.where(n1 > 0, sensitivity, np.nan),
        np.where(n0 > 0, specificity, np.nan),
    )


def _lang_reiczigel(
    rows: ArrayLike, marked: ArrayLike, n1: ArrayLike, k1: ArrayLike, n0: ArrayLike, k0: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the interval, not clipped; NaN where Se′ + Sp′ does not exceed 1."""
    z2 = Z * Z
    all_rows, m1, m0 = np.asarray(rows) + z2, np.asarray(n1) + 2.0, np.asarray(n0) + 2.0
    q = (np.asarray(marked) + z2 / 2.0) / all_rows
    se, sp = (np.asarray(k1) + 1.0) / m1, (np.asarray(k0) + 1.0) / m0
    youden = np.where(se + sp > 1.0, se + sp - 1.0, np.nan)
    p = (q + sp - 1.0) / youden
    of_se, of_sp = se * (1.0 - se) / m1, sp * (1.0 - sp) / m0
    variance = (q * (1.0 - q) / all_rows + p * p * of_se + (1.0 - p) ** 2 * of_sp) / youden**2
    shift = 2.0 * z2 * (p * of_se - (1.0 - p) * of_sp)
    half = Z * np.sqrt(variance)
    return p + shift - half, p + shift + half
