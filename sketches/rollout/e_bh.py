"""False discovery rate of e-values: e-BH, which holds under any dependence.

Of m hypotheses, the k with the largest e-values are rejected, with the largest k for which the k-th e-value is at least
m/(αk). The expected share of false rejections is at most α. E-values must be those of one look: the maximum of an
e-process over its looks is no e-value.

Source: Wang and Ramdas (2022), Journal of the Royal Statistical Society B 84, 822–852, arXiv 2009.02824.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_ROUNDING = 1e-12


def e_bh(log_e: ArrayLike, alpha: float = 0.1) -> BoolArray:
    """Return which hypotheses are rejected.

    Args:
        log_e: logarithms of the e-values of each family, (..., m).
        alpha: most expected share of false rejections.

    Returns:
        Shape (..., m).

    Raises:
        ValueError: an e-value is NaN, or α is not between 0 and 1.
    """
    values = np.asarray(log_e, np.float64)
    if np.isnan(values).any():
        raise ValueError("an e-value is NaN: leave out hypotheses without data")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"α must lie between 0 and 1, not at {alpha}")
    m = values.shape[-1]
    descending = -np.sort(-values, axis=-1)
    rank = np.arange(1, m + 1)
    # Logarithms of an e-value equal to its threshold differ by rounding.
    passes = descending >= math.log(max(m, 1) / alpha) - np.log(rank) - _ROUNDING
    rejections = np.max(np.where(passes, rank, 0), axis=-1, initial=0)
    least = np.take_along_axis(descending, np.maximum(rejections - 1, 0)[..., None], axis=-1) if m else descending
    return np.asarray((values >= least) & (rejections > 0)[..., None], np.bool_)


def log_mean_e(log_e: ArrayLike) -> FloatArray:
    """Return the logarithm of the mean e-value of each family, (...): evidence that some hypothesis is false.

    It names none. A family without hypotheses has mean 1.
    """
    values = np.asarray(log_e, np.float64)
    m = values.shape[-1]
    return np.asarray(logsumexp(values, axis=-1) - math.log(m) if m else np.zeros(values.shape[:-1]), np.float64)
