"""The effect of a randomised output on a later input of the same entity.

Only explored predictions identify it: their outputs were drawn at random with a known propensity e. Weights 1/e make
the output independent of everything before it. The estimate is the slope b of a weighted least-squares regression of
the later input on the output; the same input at the prediction itself is a covariate that only reduces the variance.

    effect = b · s_o / s,  s = weighted standard deviation of (later input − b · output)

s_o is the weighted standard deviation of the output, or 1 for a class against the others. The interval sums the
influences of b, s and s_o by entity, and uses Student's t with (entities − 1) degrees of freedom.

Sources: Horvitz, Thompson (1952), J. Am. Stat. Assoc. 47, 663–685; Liang, Zeger (1986), Biometrika 73, 13–22.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MIN_PAIRS = 100
"""Fewest pairs, also after weighting: (Σw)²/Σw²."""
MIN_ENTITIES = 20
"""Fewest entities; with fewer, standard errors by entity are too small."""
MIN_PER_ACTION = 20
"""Fewest pairs of each of two actions."""


@dataclass(frozen=True, slots=True)
class LoopEffect:
    """An effect with its 95 % interval; NaN if `reason` says that there is too little data."""

    value: float
    """In standard deviations of the input, per standard deviation of the output or per change of the class."""
    low: float
    high: float
    p_value: float
    pairs: int
    entities: int
    reason: str = ""


def follow(entity: IntArray, at_ms: IntArray, lag_ms: int, within_ms: int) -> IntArray:
    """Find the first prediction of the same entity that is at least `lag_ms` and less than `within_ms` later.

    Args:
        entity: number of the entity of each prediction, shape (n,), ascending.
        at_ms: event times, shape (n,), ascending within an entity.
        lag_ms: shortest distance, above 0.
        within_ms: longest distance, exclusive.

    Returns:
        The index of that prediction, shape (n,); -1 if there is none.
    """
    since = at_ms - (at_ms.min() if len(at_ms) else 0)
    key = entity * (int(since.max(initial=0)) + within_ms + 1) + since
    index = np.searchsorted(key, key + lag_ms)
    is_followed = (index < len(key)) & (key[np.minimum(index, len(key) - 1)] < key + within_ms)
    return np.where(is_followed, index, -1)


def estimate_effect(
    output: FloatArray,
    propensity: FloatArray,
    before: FloatArray,
    later: FloatArray,
    entity: IntArray,
    *,
    is_class: bool,
) -> LoopEffect:
    """Estimate the effect from explored predictions.

    Args:
        output: the output, or 1 for the class of interest and 0 for the others, shape (n,).
        propensity: the probability with which it was drawn, in (0, 1], up to one constant factor.
        before: the input at the prediction; NaN is unknown.
        later: the later input; pairs with NaN are left out.
        entity: number of the entity, from 0.
        is_class: whether the effect is per change of the class, and not per standard deviation of the output.

    Raises:
        ValueError: a propensity is not in (0, 1].
    """
    if not np.all((propensity > 0.0) & (propensity <= 1.0)):
        raise ValueError("a propensity is not above 0 and at most 1")
    known = np.isfinite(later) & np.isfinite(output)
    o, y, x, groups = output[known], later[known], before[known], np.unique(entity[known], return_inverse=True)[1]
    n, entities = len(y), int(groups.max(initial=-1)) + 1
    w = 1.0 / propensity[known]
    w /= w.sum() or 1.0
    if reason := _too_little(o, float(1.0 / (w @ w)) if n else 0.0, entities):
        return LoopEffect(*(np.nan,) * 4, n, entities, reason)
    x = _standardised(np.where(np.isfinite(x), x, x[np.isfinite(x)].mean() if np.isfinite(x).any() else 0.0), w)
    centred_o, centred_y = o - w @ o, y - w @ y
    design = np.column_stack((np.ones(n), centred_o, x))
    inverse = np.linalg.pinv(design.T @ (w[:, None] * design), hermitian=True)
    beta = inverse @ (design.T @ (w * centred_y))
    free = centred_y - beta[1] * centred_o
    s_square, o_square = float(w @ free**2), 1.0 if is_class else float(w @ centred_o**2)
    if s_square <= 1e-20 * float(w @ y**2):
        return LoopEffect(0.0, 0.0, 0.0, 1.0, n, entities)  # an input that never changes
    effect = float(beta[1] * np.sqrt(o_square / s_square))
    leverage = w * np.einsum("ij,jk,ik->i", design, inverse, design)
    residuals = (centred_y - design @ beta) / np.maximum(1.0 - leverage, 1e-6)  # HC3: few rows with large weights
    influence = (design * (w * residuals)[:, None]) @ inverse[1] * np.sqrt(o_square / s_square)
    influence -= effect / 2.0 * w * (free**2 / s_square - 1.0)
    if not is_class:
        influence += effect / 2.0 * w * (centred_o**2 / o_square - 1.0)
    error = float(np.sqrt(entities / (entities - 1) * np.sum(np.bincount(groups, influence) ** 2)))
    half = float(stdtrit(entities - 1, 0.975)) * error
    if error < 1e-9 and abs(effect) < 1e-9:
        return LoopEffect(0.0, 0.0, 0.0, 1.0, n, entities)  # an input that no entity ever changes
    p_value = 2.0 * float(stdtr(entities - 1, -abs(effect) / max(error, 1e-300)))
    return LoopEffect(effect, effect - half, effect + half, p_value, n, entities)


def _too_little(output: FloatArray, effective: float, entities: int) -> str:
    actions, counts = np.unique(output, return_counts=True)
    if effective < MIN_PAIRS:
        return f"{effective:.0f} effective pairs, fewer than {MIN_PAIRS}"
    if entities < MIN_ENTITIES:
        return f"{entities} entities, fewer than {MIN_ENTITIES}"
    if len(actions) < 2:
        return "explored outputs are all equal"
    if len(actions) == 2 and counts.min() < MIN_PER_ACTION:
        return f"{counts.min()} pairs of one action, fewer than {MIN_PER_ACTION}"
    return ""


def _standardised(values: FloatArray, weights: FloatArray) -> FloatArray:
    centred = values - weights @ values
    spread = float(np.sqrt(weights @ centred**2))
    return centred / spread if spread > 0.0 else centred
