"""Trees that say how large the error of a predicted number is expected to be, from the features of its event.

`barograph infer` trains them by gradient boosting of |prediction − label| (`profiling.infer.loss`). Their result is the
number of a bin of the expected |error|; bins are 2% wide. It only orders predictions: the means of |e| and e² are
learned from labels (`sketches.performance.loss`). The scorer evaluates the same trees in SQL
(`warehouse.scoring.loss_cells`).
"""

import math
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SCORE = "score"
BIN_WIDTH = 1.02
"""Ratio of the ends of a bin of the expected |error|."""
LOSS_ZERO = 3 << 19
"""Number of the bin that begins at an expected |error| of 1: above those of predictions in `performance_state`."""
MAX_STEPS = 1 << 17
"""Largest distance from `LOSS_ZERO`."""
MAX_NODES = 1_000
NO_CELL = 0
"""Result for a prediction without any feature."""


class LossFeature(msgspec.Struct, frozen=True):
    """A value that trees read."""

    source: str
    """`features.NAME`, or `score` for the prediction."""
    categories: tuple[str, ...] = ()
    """Texts by ascending mean |error|; a text counts as its position, any other as missing. Empty for numbers."""


class LossTrees(msgspec.Struct, frozen=True, kw_only=True):
    """Trees as arrays over all nodes, each tree in preorder: the left child of a node follows it."""

    features: tuple[LossFeature, ...]
    split: tuple[int, ...]
    """Index of the feature that a node compares; −1 for a leaf."""
    value: tuple[float, ...]
    """Values up to this one go left; of a leaf, what it adds, in bins: a multiple of 2⁻¹⁰, so that sums are exact."""
    right: tuple[int, ...]
    """Index of the right child; 0 for a leaf."""
    missing_left: tuple[int, ...]
    """1 if a missing value goes left."""

    def roots(self) -> list[int]:
        roots, node = [], 0
        while node < len(self.split):
            roots.append(node)
            while self.split[node] >= 0:
                node = self.right[node]
            node += 1
        return roots

    def cells(self, x: FloatArray) -> IntArray:
        """Return the number of each row's bin, shape (n,); `NO_CELL` without any feature besides the prediction.

        Args:
            x: values in the order of `features`, shape (n, features); NaN and infinite values are missing.
        """
        columns = np.where(np.isfinite(x), x, np.nan).T.copy()
        sums = np.zeros(len(x))
        for root in self.roots():
            todo = [(root, np.arange(len(x)))]
            while todo:
                node, rows = todo.pop()
                if self.split[node] < 0:
                    sums[rows] += self.value[node]
                    continue
                values = columns[self.split[node], rows]
                goes_left = ~(values > self.value[node]) if self.missing_left[node] else values <= self.value[node]
                todo += [(node + 1, rows[goes_left]), (self.right[node], rows[~goes_left])]
        is_feature = [feature.source != SCORE for feature in self.features]
        has_any = np.isfinite(columns[is_feature]).any(axis=0)
        cells = LOSS_ZERO + np.clip(np.floor(sums), -MAX_STEPS, MAX_STEPS).astype(np.int64)
        return np.where(has_any, cells, NO_CELL)


def loss_tree_problems(trees: LossTrees) -> Iterator[str]:
    """Yield what keeps trees from being evaluated."""
    n = len(trees.split)
    if n > MAX_NODES:
        yield f"loss: {n} nodes; at most {MAX_NODES} are evaluated"
    elif not n or {len(trees.value), len(trees.right), len(trees.missing_left)} != {n}:
        yield "loss: the arrays of nodes must have one length"
    elif not all(map(math.isfinite, trees.value)):
        yield "loss: a value is not finite"
    elif any(
        not -1 <= split < len(trees.features) or (split >= 0 and not node + 1 < right < n)
        for node, (split, right) in enumerate(zip(trees.split, trees.right, strict=True))
    ) or any(trees.split[node - 1] >= 0 for node in (*trees.roots()[1:], n)):
        yield "loss: a node has a feature or a child that does not exist"
