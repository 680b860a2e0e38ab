"""The mean score of repeated items: each item is answered several times, and its answers resemble each other.

With s_i the sum of the scores of item i, m_i its answers, K items, N = Σm_i answers and p = Σs_i / N, the variance of p
by items is K/(K−1) · Σ(s_i − p·m_i)² / N². Its ratio to p(1−p)/N is the design effect φ. The interval is Wilson's with
N/φ answers. φ is at least 1, so scores that vary less than coins gain nothing. If all scores are 0, or all are 1, each
item counts once: φ = N/K.

Source: ratio estimator of clusters, Cochran, Sampling Techniques (1977), section 3.12; effective sizes in Wilson's
interval, Korn and Graubard (1998), Survey Methodology 24, 193–201.
"""

import numpy as np
from numpy.typing import ArrayLike

from barograph_server.sketches.performance.metric import MetricEstimate, proportion


def clustered_rate(sums: ArrayLike, counts: ArrayLike) -> MetricEstimate:
    """Return the mean score of one run with its 95 % interval; enough from 20 independent answers.

    Args:
        sums: sum of the scores of each item, shape (K,); scores are from 0 to 1.
        counts: answers of each item, shape (K,), at least 1.

    Returns:
        Scalars; NaN without items. With one item the interval is Wilson's of one answer.

    Raises:
        ValueError: the shapes differ, a count is below 1, or a sum is not between 0 and its count.
    """
    scores, answers = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    if scores.ndim != 1 or scores.shape != answers.shape:
        raise ValueError(f"sums and counts of items need one shape (K,), not {scores.shape} and {answers.shape}")
    if not np.all(answers >= 1.0) or not np.all((scores >= 0.0) & (scores <= answers)):
        raise ValueError("an item has no answer, or scores that are not between 0 and 1")
    items, n, total = len(scores), float(answers.sum()), float(scores.sum())
    if items == 0:
        return proportion(0.0, 0.0)
    p = total / n
    phi = n / items
    if items > 1 and 0.0 < p < 1.0:
        variance = items / (items - 1) * float(np.sum((scores - p * answers) ** 2)) / n**2
        phi = max(1.0, variance * n / (p * (1.0 - p)))
    elif items == 1:
        phi = n
    return proportion(total, n, max(1.0, phi))
