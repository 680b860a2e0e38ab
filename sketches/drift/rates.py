"""Rates (null, invalid, below, above, unseen, errors): change against the baseline, and level.

δ = window rate − baseline rate, with Newcombe's 95 % interval and Fisher's exact p. Overdispersion φ divides the
window's counts, never its rates; the baseline's counts are unscaled except those of `unseen`, whose expected rate is an
estimate with a larger variance than a count. The level requires both size and certainty: p alone would page on one
null in 1,000 against 0 of 10⁵.

Source: Wilson (1927); Newcombe (1998), Statistics in Medicine 17, 873–890, method 10.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from barograph.contract import Contract, RateThresholds
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from barograph_server.sketches.baseline.baseline import FieldBaseline
from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.baseline.levels import InsufficientReason, Level
from barograph_server.sketches.drift.fisher import fisher_p

FloatArray = NDArray[np.float64]

CONFIDENCE = 0.95
Z = float(ndtri(0.5 + CONFIDENCE / 2.0))
"""Half-width of such an interval in standard errors: 1.96."""


@dataclass(frozen=True, slots=True)
class RateKind:
    """A kind of rate of a field: the share of its slice's events that one count holds."""

    name: str
    """Value of the column `kind` of the table `rates`."""
    noun: str
    """What is counted, in texts: `NOUN of FIELD`."""
    column: FieldColumn
    """The count that it reads."""
    field_kind: Literal["numeric", "category"] | None = None
    """Only fields of this kind have the rate; None: all fields."""
    limit: Literal["low", "high"] | None = None
    """Only fields whose baseline has this limit have the rate; None: no limit is needed."""
    rule: str | None = None
    """Name of the alert rule that reads it, possibly among others; None: no rule does."""
    thresholds: Literal["rate_thresholds"] = "rate_thresholds"
    """Member of the contract that holds its minor and major threshold."""

    @property
    def varies_in_training(self) -> bool:
        """Whether its φ is learned from windows of training: values beyond a limit are not counted by window there."""
        return self.limit is None

    def is_counted_in(self, field: FieldBaseline) -> bool:
        """Whether the count of a field of this type is that of the rate."""
        return self.field_kind in (None, field.kind)

    def applies_to(self, field: FieldBaseline) -> bool:
        return self.is_counted_in(field) and (self.limit is None or getattr(field, self.limit) is not None)

    def thresholds_of(self, contract: Contract) -> RateThresholds:
        thresholds: RateThresholds = getattr(contract, self.thresholds)
        return thresholds


RATE_KINDS = (
    RateKind("null", "nulls", FieldColumn.NULL, rule="null-rate"),
    RateKind("invalid", "invalid values", FieldColumn.INVALID, rule="invalid-rate"),
    RateKind("below", "values below the range", FieldColumn.BELOW, "numeric", limit="low", rule="range-rate"),
    RateKind("above", "values above the range", FieldColumn.ABOVE, "numeric", limit="high", rule="range-rate"),
    RateKind("unseen", "unseen categories", FieldColumn.UNSEEN, "category", rule="unseen-rate"),
)
"""All kinds. The rate of failed predictions (`error`) is one of events, not of fields, and is judged apart."""
RATE_KIND_NAMES = tuple(kind.name for kind in RATE_KINDS)
RATE_NOUNS = {kind.name: kind.noun for kind in RATE_KINDS}


@dataclass(frozen=True, slots=True)
class RateVerdicts:
    """Verdicts of rates; every array has the shape that the arguments broadcast to.

    If window or baseline has no rows, the change is unknown: delta 0, interval [−1, 1], p 1, level `insufficient`; a
    rate of no rows is 0. No value is NaN.
    """

    rate: FloatArray
    baseline_rate: FloatArray
    delta: FloatArray
    """rate − baseline_rate."""
    low: FloatArray
    """Lower end of the 95 % interval of delta."""
    high: FloatArray
    p_value: FloatArray
    """Fisher's exact test, two-sided, on rounded k/φ of n/φ; informative, the level does not depend on it."""
    level: NDArray[np.int8]
    """Numbers of `sketches.baseline.levels.Level`; a rate that fell is `stable`."""
    reason: NDArray[np.int8]
    """Why the level is `insufficient`: numbers of `sketches.baseline.levels.InsufficientReason`; 0 for other levels."""
    enough: NDArray[np.bool_]
    """Whether 0 of n/φ would put the rate under the minor threshold: n/φ ≥ 381 at one point."""


def rate_of(k: ArrayLike, n: ArrayLike) -> FloatArray:
    """Return k/n; 0 if n is 0."""
    rows = np.asarray(n, np.float64)
    return np.where(rows > 0.0, np.asarray(k, np.float64) / np.where(rows > 0.0, rows, 1.0), 0.0)


def wilson(k: ArrayLike, n: ArrayLike, confidence: float = CONFIDENCE) -> tuple[FloatArray, FloatArray]:
    """Return Wilson's interval of the rate k/n; [0, 1] if n is 0.

    Args:
        k: events that count, 0 ≤ k ≤ n; may be fractions, such as scaled counts.
        n: all events, broadcast against `k`.
        confidence: share of intervals that cover the true rate.
    """
    z2 = _z(confidence) ** 2
    hits, rows = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    divisor = np.where(rows > 0.0, rows, 1.0)
    centre = (hits + z2 / 2.0) / (divisor + z2)
    half = np.sqrt(z2 * (hits * (1.0 - hits / divisor) + z2 / 4.0)) / (divisor + z2)
    low = np.where((rows > 0.0) & (hits > 0.0), np.maximum(centre - half, 0.0), 0.0)
    high = np.where((rows > 0.0) & (hits < rows), np.minimum(centre + half, 1.0), 1.0)
    return low, high


def newcombe(
    k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return δ = k1/n1 − k2/n2 and the ends of its interval; 0 and [−1, 1] if n1 or n2 is 0."""
    rate1, rate2 = rate_of(k1, n1), rate_of(k2, n2)
    low1, high1 = wilson(k1, n1, confidence)
    low2, high2 = wilson(k2, n2, confidence)
    known = (np.asarray(n1) > 0) & (np.asarray(n2) > 0)
    delta = np.where(known, rate1 - rate2, 0.0)
    low = np.where(known, delta - np.hypot(rate1 - low1, high2 - rate2), -1.0)
    high = np.where(known, delta + np.hypot(high1 - rate1, rate2 - low2), 1.0)
    return delta, low, high


def rate_verdicts(
    k: ArrayLike,
    n: ArrayLike,
    base_k: ArrayLike,
    base_n: ArrayLike,
    *,
    phi: ArrayLike = 1.0,
    base_phi: ArrayLike = 1.0,
    training_delta: ArrayLike = 0.0,
    thresholds: tuple[ArrayLike, ArrayLike] = (0.01, 0.05),
    completeness: ArrayLike = 1.0,
) -> RateVerdicts:
    """Judge rates against their baseline.

    [l, u] is the interval of δ. With enough data (Wilson's upper end of 0 of n/φ is under the minor threshold): `major`
    if δ > major and l > minor, `minor` if δ > minor and l > 0, else `stable`. Without enough data: `major` if
    l > major, else `insufficient`. `major` also needs l > training_delta: more than windows of training had repeatedly.

    Args:
        k: the window's events that count, 0 ≤ k ≤ n.
        n: all events of the window.
        base_k: training rows that count; for `unseen` the expected number (`sketches.drift.rate_cells.RateCells`).
        phi: overdispersion of field, slice and window length, at least 1.
        base_phi: of the baseline's counts, at least 1.
        training_delta: l that windows of training repeatedly reached (`TrainingRate.delta`).
        thresholds: of `minor`, a change as a share (0.01 is one point), and of `major`, above it.
        completeness: share of the window's events that was not lost; it affects only the reason.

    Raises:
        ValueError: if a count does not lie in 0 … n, φ is under 1, or 0 < minor < major does not hold.
    """
    arrays = (np.asarray(a, np.float64) for a in (k, n, base_k, base_n, phi, base_phi, training_delta, *thresholds))
    hits, rows, base_hits, base_rows, phis, base_phis, usual, minors, majors = np.broadcast_arrays(*arrays)
    for what, part, whole in (("window", hits, rows), ("baseline", base_hits, base_rows)):
        if not np.all((part >= 0.0) & (part <= whole)):
            raise ValueError(f"a {what} count exceeds its rows or is negative: 0 ≤ k ≤ n must hold")
    if not (np.all(phis >= 1.0) and np.all(base_phis >= 1.0)):
        raise ValueError("φ, the overdispersion, must be at least 1")
    if not np.all((minors > 0.0) & (minors < majors)):
        raise ValueError("the minor threshold of a rate must be above 0 and below its major threshold")

    k_phi, n_phi = hits / phis, rows / phis
    base_k_phi, base_n_phi = base_hits / base_phis, base_rows / base_phis
    _, low, high = newcombe(k_phi, n_phi, base_k_phi, base_n_phi)
    rate, baseline_rate = rate_of(hits, rows), rate_of(base_hits, base_rows)
    z2 = Z**2
    known = (rows > 0.0) & (base_rows > 0.0)
    delta = np.where(known, rate - baseline_rate, 0.0)
    needed = z2 * (1.0 - minors) / minors
    enough = known & (n_phi * minors > z2 * (1.0 - minors))
    level = np.full(delta.shape, Level.insufficient, np.int8)
    level[enough] = Level.stable
    level[enough & (delta > minors) & (low > 0.0)] = Level.minor
    unusual = low > usual
    level[enough & (delta > majors) & (low > minors) & unusual] = Level.major
    level[known & ~enough & (low > majors) & unusual] = Level.major
    reason = np.full(delta.shape, InsufficientReason.too_few_events, np.int8)
    reason[rows > needed] = InsufficientReason.correlated_events
    reason[n_phi / np.maximum(completeness, 1e-9) > needed] = InsufficientReason.lost_events
    reason[base_rows == 0.0] = InsufficientReason.few_training_rows
    reason[rows == 0.0] = InsufficientReason.no_events
    reason[level != Level.insufficient] = InsufficientReason.none
    return RateVerdicts(
        rate=rate,
        baseline_rate=baseline_rate,
        delta=delta,
        low=low,
        high=high,
        p_value=fisher_p(np.rint(k_phi), np.rint(n_phi), np.rint(base_k_phi), np.rint(base_n_phi)),
        level=level,
        reason=reason,
        enough=enough,
    )


def _z(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"a confidence must lie between 0 and 1, not at {confidence}")
    return float(ndtri(0.5 + confidence / 2.0))
