"""Probability that the PSI of a window exceeds a threshold, by the share of the window that a change fills.

A change that began s seconds ago fills the share f = min(1, s/L) of a window of L seconds. Its true PSI is that of the
mixture (1 − f)p + fq of the shares p before and q after the change, on the frozen bins. With n′ = n_h/φ, T = n′·PSI
follows χ²_df(λ = n′·PSI(f)) (`sketches.drift.psi`), so that a verdict exceeds the threshold ℓ with probability

    P(f) = 1 − F(n′ℓ; df, λ = n′·PSI(f)).

ℓ is the threshold of `major` if n′ reaches n*(df), else the PSI whose interval lies above the threshold of `minor`;
P(f) is then at most the probability of the interval with its widening for drift in rare bins.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chndtr, chndtrix

from barograph_server.sketches.drift.noncentral import lambda_low
from barograph_server.sketches.drift.power import n_star
from barograph_server.sketches.drift.psi import SHARE_FLOOR, psi_variance_ratio

FloatArray = NDArray[np.float64]

_NARROWINGS, _POINTS = 6, 65
_HIGH_POINT = 0.975
"""The lower end of an interval is the λ whose 97.5 % point is the observed T."""


def mixed_psi(before: ArrayLike, after: ArrayLike, share: float) -> float:
    """Return the PSI of the mixture of a field's shares before and after a change.

    Args:
        before: shares of the bins before the change, (B,), of sum 1.
        after: shares of the same bins after it, (B,), of sum 1.
        share: share f of the events that come after the change, from 0 to 1.

    Raises:
        ValueError: if shapes differ, or the share does not lie in [0, 1].
    """
    p, plain = _mixture(before, after, share)
    q = np.maximum(SHARE_FLOOR, plain)
    return float(((q - p) * np.log(q / p)).sum())


def level_threshold(n_eff: float, df: float, minor: float, major: float) -> float:
    """Return the PSI above which a verdict is `major`.

    Args:
        n_eff: n′ = n_h/φ of the window, above 0.
        df: degrees of freedom, at least 1.
    """
    if n_eff >= float(n_star(df, minor, major)):
        return major
    return max(major, interval_threshold(n_eff, df, minor))


def interval_threshold(n_eff: float, df: float, threshold: float) -> float:
    """Return the PSI above which the whole 95 % interval lies above a threshold.

    The interval is that of `sketches.drift.psi`, without its widening for drift in rare bins.
    """
    return float(chndtrix(_HIGH_POINT, df, threshold * n_eff)) / n_eff


def exceedance(psi: ArrayLike, n_eff: float, df: float, threshold: float) -> FloatArray:
    """Return the probability that the observed PSI exceeds a threshold, in the shape of the true PSI.

    Args:
        psi: true PSI, at least 0.
        n_eff: n′ = n_h/φ of the window, above 0.
        df: degrees of freedom, at least 1.
    """
    true = np.asarray(psi, np.float64)
    below = chndtr(n_eff * threshold, df, n_eff * true)
    return np.clip(1.0 - np.asarray(below, np.float64), 0.0, 1.0)


def decision_exceedance(
    before: ArrayLike,
    after: ArrayLike,
    share: float,
    *,
    events: float,
    rows: float,
    phi: float,
    df: float,
    threshold: float,
    limits: tuple[float, float],
) -> float:
    """Return the probability that a window's PSI exceeds a threshold, and that its level is not `insufficient`.

    With n′ < n* the level must be `major`, for which the whole interval lies above `minor`, as widened as it is.

    Args:
        before: arguments without a description are those of `interval_exceedance`.
        limits: thresholds of `minor` and `major`.
    """
    n_eff = 1.0 / (phi / events + phi / rows)
    enough = n_eff >= float(n_star(df, *limits))
    least = threshold if enough else max(threshold, level_threshold(n_eff, df, *limits))
    of_psi = float(exceedance(mixed_psi(before, after, share), n_eff, df, least))
    if enough or of_psi == 0.0:
        return of_psi
    sample = {"events": events, "rows": rows, "phi": phi, "df": df}
    return min(of_psi, interval_exceedance(before, after, share, **sample, threshold=limits[0]))


def interval_exceedance(
    before: ArrayLike,
    after: ArrayLike,
    share: float,
    *,
    events: float,
    rows: float,
    phi: float,
    df: float,
    threshold: float,
) -> float:
    """Return the probability that the whole 95 % interval of a window's PSI lies above a threshold.

    As in `sketches.drift.psi`, the interval is wider by √r if the change is in rare bins or empties a bin. The shares
    are smoothed with the events of the window, because an emptied bin adds less to PSI in a small window.

    Args:
        before: shares of the bins before the change, (B,).
        after: shares after it, (B,).
        share: share f of the events that come after the change.
    """
    p, mixed = _mixture(before, after, share)
    added = np.minimum(0.5, events * p)
    plain = (events * mixed + added) / (events + added.sum())
    q = np.maximum(SHARE_FLOOR, plain)
    psi = float(((q - p) * np.log(q / p)).sum())
    n_h = events * rows / (events + rows)
    n_eff = n_h / phi
    ratio = q / p
    # The derivatives of PSI by the shares of the window and of training.
    g = np.where(plain < SHARE_FLOOR, 0.0, np.log(ratio) + 1.0 - 1.0 / ratio)
    h = 1.0 - ratio - np.log(ratio)
    of_window, of_training = (q * g * g).sum() - (q * g).sum() ** 2, (p * h * h).sum() - (p * h).sum() ** 2
    variance = np.array(of_window / events + of_training / rows)
    widen = math.sqrt(float(psi_variance_ratio(np.array(psi), np.array(n_h), variance)))

    def low(observed: FloatArray) -> FloatArray:
        centre = observed - df / n_eff
        return centre - widen * (centre - lambda_low(n_eff * observed, df) / n_eff)

    # `low` rises with the observed PSI.
    least, most = threshold, 2.0 * threshold + 1.0
    while low(np.array(most)) <= threshold:
        most *= 2.0
    for _ in range(_NARROWINGS):
        points = np.linspace(least, most, _POINTS)
        above = max(1, int(np.argmax(low(points) > threshold)))
        least, most = points[above - 1].item(), points[above].item()
    # An emptied bin does not vary; the spread of the others is that of their true shares.
    true = (mixed * g * g).sum() - (mixed * g).sum() ** 2
    drift = (true / events + of_training / rows) * n_h * n_eff
    spread = math.sqrt((2.0 * df + drift) / (2.0 * df + 4.0 * n_eff * psi))
    mean = df / n_eff + psi
    return float(exceedance(psi, n_eff, df, max(0.0, mean + (most - mean) / spread)))


def _mixture(before: ArrayLike, after: ArrayLike, share: float) -> tuple[FloatArray, FloatArray]:
    """Return the shares before the change, floored, and those of the mixture, not floored."""
    p, q = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if p.shape != q.shape or p.ndim != 1:
        raise ValueError(f"shares before and after must have one shape (B,), not {p.shape} and {q.shape}")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share of events after a change lies in [0, 1], not at {share}")
    return np.maximum(SHARE_FLOOR, p), (1.0 - share) * p + share * q
