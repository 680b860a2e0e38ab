"""Performance of models with more than two classes, from counts alone, over many windows at once.

With C the confusion (rows true, columns predicted), r its row sums and c its column sums:

| metric | value | interval |
|---|---|---|
| accuracy, and every `_micro` (each row has one class, so they are the same) | Σ C_kk / n | Wilson |
| precision, recall of a class | C_kk / c_k, C_kk / r_k | Wilson |
| f1 of a class | 2 C_kk / (r_k + c_k) | as for two classes |
| auc of a class | its probability, against all others | as for two classes |
| precision_macro, recall_macro | mean over classes | square and add of Wilson's: given c (r), classes are independent |
| f1_macro | mean over classes | delta method over all cells of C, on log-odds |
| auc_macro | mean over classes | with classes taken as fully correlated: never too narrow; on log-odds |
| log_loss, brier | means of −ln(probability of what came) and Σ_k (p_k − y_k)², exact | Student |
| calibration_error | mean over classes of the class against all others | means of their ends: never too narrow |

Means are over the classes that a window holds, as true or as predicted; one that was never predicted has precision
0 in them (NaN by itself). auc_macro is over classes that have rows, and rows of others against them.

Source of the class-wise calibration error: Nixon et al. (2019), arXiv 1904.01685.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketches.performance.metric import Metric

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def class_metrics(
    confusion: ArrayLike,
    one_vs_rest: ArrayLike | None,
    edges: ArrayLike,
    *,
    log_loss_sums: ArrayLike | None = None,
    brier_sums: ArrayLike | None = None,
    phi: ArrayLike = 1.0,
) -> dict[str, Metric]:
    """All metrics of the kind `classes`, by name, and those of each class.

    Args:
        confusion: exact counts, true × predicted, shape (..., K, K), classes in the contract's order.
        one_vs_rest: labelled rows by the probability of each class, `positives` those whose label it is, shape
            (..., K, n_bins, 3); None where events carry no probabilities.
        edges: of the histogram's bins, `score_edges(0.5)`.
        log_loss_sums: n, Σx, Σx² of x = −ln max(probability of the class that came, `binary.SCORE_FLOOR`), shape
            (..., 3); None where events carry no probabilities.
        brier_sums: n, Σx, Σx² of x = Σ_k (p_k − y_k)², from 0 to 2, shape (..., 3); None as above.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        The metrics named in `METRICS["classes"]` of the contract, of the windows' shape, and `precision`, `recall`,
        `f1` and `auc` of shape (..., K), per class. NaN where undefined. Enough needs 20 rows (n/φ); of a class 20 of
        it and of the others, and of its denominator; of a macro mean 20 of every class that the window holds.

    Raises:
        ValueError: if shapes do not fit or φ is under 1.
    """
    raise NotImplementedError
