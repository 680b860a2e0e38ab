"""Trains trees of the expected |prediction − label| of a regression on the features of a training table.

They order predictions by how large their errors are expected to be; the errors of each group are then learned from
labels (`sketches.performance.loss`). For rows that trees were trained on, the order would look better than it is, so
they get the result of trees that were trained on the other folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from barograph.contract import LabelSpec
from barograph.contract.check import label_kind
from numpy.typing import NDArray

from barograph_server.profiling.infer.columns import FloatArray, read_numbers, read_texts
from barograph_server.profiling.infer.profile import FieldPlan, Roles
from barograph_server.profiling.infer.tables import Table
from barograph_server.sketches.baseline.baseline import RARE_DIVISOR
from barograph_server.sketches.baseline.loss_trees import BIN_WIDTH, NO_CELL, SCORE, LossFeature, LossTrees

IntArray = NDArray[np.int64]

MISSING = (
    "Errors of predicted numbers will be estimated from predictions alone: to estimate them from all features needs "
    "scikit-learn, which is not installed: `pip install 'barograph[compare]'`, and infer again."
)
MIN_ROWS = 500
"""Fewest labelled rows."""
MAX_ROWS, MAX_VALUES = 100_000, 5_000_000
"""Most rows, and most values of all features, in the sample that trees are trained on."""
FOLDS = 5
TREES, LEAVES, RATE = 60, 8, 0.1
_DIGITS = 1 << 10
_LARGEST = 1e308
_SEED = 0


@dataclass(frozen=True, slots=True)
class LearnedLoss:
    """Trees, with the sample that they were trained on."""

    trees: LossTrees
    rows: IntArray
    """Rows of the sample in the table, ascending, shape (n,)."""
    held_out: IntArray
    """The cell of each of them by trees that were not trained on it, shape (n,)."""


def learn_loss_trees(
    table: Table, roles: Roles, label: LabelSpec | None, plans: Sequence[FieldPlan]
) -> LearnedLoss | None:
    """Train the trees; None if the label is no number, or with too few labels or no features.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    if label is None or label_kind(label) != "number" or roles.label is None or roles.score is None:
        return None
    score = read_numbers(table, roles.score)
    loss = np.abs(score - read_numbers(table, roles.label))
    named = [plan for plan in plans if plan.source.startswith("features.") and plan.type != "timestamp"]
    rows = np.flatnonzero(np.isfinite(loss))
    size = min(rows.size, MAX_ROWS, MAX_VALUES // (len(named) + 1))
    if size < MIN_ROWS or not named or not loss[rows].any():
        return None
    rows = rows[np.arange(size) * rows.size // size]
    loss = loss[rows]
    features, columns = [LossFeature(SCORE)], [score[rows]]
    for plan in named:
        if plan.type == "category":
            texts = read_texts(table, plan.column)
            feature, values = _category(plan.source, texts.codes[rows], texts.values, loss)
            if not feature.categories:
                continue
        else:
            feature, values = LossFeature(plan.source), read_numbers(table, plan.column)[rows]
        features.append(feature)
        columns.append(values)
    x = np.stack(columns, axis=1)
    x[~np.isfinite(x)] = np.nan
    fold = np.random.default_rng(_SEED).integers(0, FOLDS, size)
    held_out = np.empty(size, np.int64)
    for each in range(FOLDS):
        held_out[fold == each] = _train(features, x[fold != each], loss[fold != each]).cells(x[fold == each])
    trees = _train(features, x, loss)
    used = sorted(set(trees.split) - {-1})
    if not any(features[i].source != SCORE for i in used):
        return None
    position = {old: new for new, old in enumerate(used)} | {-1: -1}
    trees = msgspec.structs.replace(
        trees, features=tuple(features[i] for i in used), split=tuple(position[i] for i in trees.split)
    )
    held_out[trees.cells(x[:, used]) == NO_CELL] = NO_CELL
    return LearnedLoss(trees, rows, held_out)


def _category(
    source: str, codes: NDArray[np.int32], texts: tuple[str, ...], loss: FloatArray
) -> tuple[LossFeature, FloatArray]:
    """Order the common categories by their mean loss."""
    count = np.bincount(codes + 1, minlength=len(texts) + 1)[1:]
    mean = np.bincount(codes + 1, loss, len(texts) + 1)[1:] / np.maximum(count, 1)
    common = [code for code in np.argsort(mean, kind="stable").tolist() if count[code] * RARE_DIVISOR >= codes.size]
    common = [code for code in common if texts[code]]
    lookup = np.full(len(texts) + 1, np.nan)
    lookup[common] = np.arange(len(common))
    return LossFeature(source, tuple(texts[code] for code in common)), lookup[codes]


def _train(features: Sequence[LossFeature], x: FloatArray, loss: FloatArray) -> LossTrees:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # a part of scikit-learn, without types

    model: Any = HistGradientBoostingRegressor(
        loss="poisson",
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        learning_rate=RATE,
        early_stopping=False,
        random_state=_SEED,
    )
    # OpenMP threads busy-wait for each other: beside other processes two are slower than one.
    with threadpool_limits(limits=1, user_api="openmp"):
        model.fit(x, loss)
    # Its predictions are the exponential of a sum over trees, whose first term is the same for all rows.
    split, value, right, missing_left = [-1], [float(model._baseline_prediction.item())], [0], [0]
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        order, at = [], [0]
        while at:
            order.append(node := at.pop())
            if not nodes["is_leaf"][node]:
                at += [int(nodes["right"][node]), int(nodes["left"][node])]
        position = {node: len(split) + i for i, node in enumerate(order)}
        for node in order:
            row = nodes[node]
            is_leaf = bool(row["is_leaf"])
            split.append(-1 if is_leaf else int(row["feature_idx"]))
            value.append(float(row["value" if is_leaf else "num_threshold"]))
            right.append(0 if is_leaf else position[int(row["right"])])
            missing_left.append(int(not is_leaf and row["missing_go_to_left"]))
    # Nine digits keep the SQL short. Nodes that only divide missing values from others have an infinite threshold.
    value = [
        round(each / np.log(BIN_WIDTH) * _DIGITS) / _DIGITS if of < 0 else float(f"{min(each, _LARGEST):.9g}")
        for each, of in zip(value, split, strict=True)
    ]
    return LossTrees(
        features=tuple(features),
        split=tuple(split),
        value=tuple(value),
        right=tuple(right),
        missing_left=tuple(missing_left),
    )
