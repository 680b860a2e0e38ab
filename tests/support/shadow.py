"""Daily sums for tests of shadows."""

import numpy as np

DIFFERENCES = np.array([5, 4, 6, 7, 2, -1, -3, 1, 2, 6, 8, 5, 1, 0, -2, 1, 3, 6, 5, 2, -1, 0, 3, 7, 6, 4, 1, 2.0])
PAIRS = np.array([100, 90, 110, 95, 105, 100, 80, 120, 100, 90, 100, 110, 95, 105] * 2, np.float64)
PAIRS[15:] = [85, 115, 100, 90, 110, 100, 95, 105, 100, 90, 110, 100, 100]
"""28 days of a candidate that wins 2.9 points of its pairs, from 80 to 120 pairs a day."""
