"""What two copies of one model look like: the floor below which a disagreement means nothing.

A primary that is not deterministic, such as a language model with sampling, disagrees with a second copy of itself. The
disagreement of the candidate is then compared with that of the copy on the same requests:

    D = 1[copy differs from primary] − 1[candidate differs from primary]

is a difference for `sketches.rollout.day_interval`, with a margin like any other: positive if the candidate disagrees
less than a copy would. For other qualities, the interval of copy − primary shows how wide no difference is.

A deterministic primary has no floor, and nothing is divided by it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def disagreement_beyond_copy(candidate: ArrayLike, copy: ArrayLike) -> FloatArray | None:
    """Return the daily sums of D, (..., t); None for a deterministic primary, whose copy never disagrees.

    Args:
        candidate: requests of each day in which the candidate's answer differs from the primary's, (..., t).
        copy: requests in which the copy's answer does, among the same requests.
    """
    of_copy = np.asarray(copy, np.float64)
    return np.asarray(of_copy - np.asarray(candidate, np.float64), np.float64) if of_copy.any() else None
