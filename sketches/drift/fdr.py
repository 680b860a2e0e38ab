"""False discovery rate over the fields of one model, slice and window: weighted Benjamini–Hochberg q-values.

A field's q-value is the expected share of false alarms among all fields whose q is as small or smaller. It is
informative and sorts fields; the level of a verdict does not depend on it.

    q₍ᵢ₎ = min over j ≥ i of N · (p/w)₍ⱼ₎ / j, at most 1

where p/w ascends, N fields are compared, and the weights w, fixed in advance of the data, have mean 1 over them.

Sources: Benjamini, Hochberg (1995), J. R. Stat. Soc. B 57, 289–300; the weights: Genovese, Roeder, Wasserman (2006),
Biometrika 93, 509–524.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def q_values(
    p: ArrayLike, weights: ArrayLike = 1.0, *, family: ArrayLike = 0, compared: ArrayLike = True
) -> FloatArray:
    """Correct the p-values of many windows and slices at once.

    Args:
        p: p-values, shape (W, G), or (G,) for W = 1.
        weights: importance of each group, above 0, a scalar or (G,).
        family: number of each group's family (its slice), at least 0, a scalar or (G,): groups are compared with
            those of the same window and family.
        compared: groups that take part, a scalar, (G,) or (W, G): those with enough data.

    Returns:
        Shape (W, G); NaN if a group takes no part.

    Raises:
        ValueError: a p-value that takes part is not in [0, 1], a weight is not above 0, or shapes do not fit.
    """
    values = np.atleast_2d(np.asarray(p, dtype=np.float64))
    shape = values.shape
    weight = np.broadcast_to(np.asarray(weights, dtype=np.float64), shape[1:])
    families = np.broadcast_to(np.asarray(family, dtype=np.int64), shape[1:])
    window, group = np.nonzero(np.broadcast_to(np.asarray(compared, dtype=bool), shape))
    chosen = values[window, group]
    if not (np.isfinite(weight) & (weight > 0)).all():
        raise ValueError("a weight of a field is not above 0")
    if not ((chosen >= 0) & (chosen <= 1)).all():
        raise ValueError("a p-value is not in [0, 1]")
    q = np.full(shape, np.nan)
    if not len(chosen):
        return q
    # Families of all windows, numbered consecutively; `size` fields in each, `mean` weight.
    number = np.unique(window * (families.max() + 1) + families[group], return_inverse=True)[1]
    size = np.bincount(number)
    mean = np.bincount(number, weights=weight[group]) / size
    ratio = chosen / weight[group] * mean[number]
    order = np.lexsort((ratio, number))
    row = number[order]
    column = np.arange(len(order)) - (np.cumsum(size) - size)[row]
    # A row per family, ascending; entries beyond its size are infinite.
    table = np.full((len(size), int(size.max())), np.inf)
    table[row, column] = ratio[order] * size[row] / (column + 1)
    table = np.minimum.accumulate(table[:, ::-1], axis=1)[:, ::-1]
    q[window[order], group[order]] = np.minimum(table[row, column], 1.0)
    return q
