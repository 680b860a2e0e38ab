"""Multivariate drift: how well a classifier tells production rows from training rows.

Trees are trained on a sample of both tables. Each row is scored by a model that was not trained on it (five folds), and
the AUC of these scores has DeLong's interval: 0.5 if the joint distributions are the same, 1 if every row can be told
apart. A field is important if AUC falls when its values are permuted among the rows of a fold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL, RARE_DIVISOR, FieldBaseline
from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.performance.auc import auc_metric
from barograph_server.sketches.performance.bins import score_edges

FloatArray = NDArray[np.float64]

MISSING = (
    "Multivariate drift was not tested: it needs scikit-learn, which is not installed: "
    "`pip install 'barograph[compare]'`."
)
SAMPLE_ROWS = 10_000
"""Rows of each table in the sample, spread evenly."""
FOLDS = 5
TOP_FIELDS = 5
MIN_ROWS = 100
"""Fewest rows of each table."""
_FEW_VALUES = 50
_SEED = 0
_EDGES = score_edges(0.5)


@dataclass(frozen=True, slots=True)
class MultivariateDrift:
    auc: float
    low: float
    high: float
    n_training: int
    """Rows of training in the sample."""
    n_production: int
    top_fields: tuple[tuple[str, float], ...]
    """The most important fields, each with the loss of AUC without its information; only those with a loss."""


def sample_rows(n: int) -> NDArray[np.int64]:
    """Return the rows of a table of n rows that are in the sample, ascending."""
    size = min(n, SAMPLE_ROWS)
    return np.arange(size, dtype=np.int64) * n // max(size, 1)


def classify(
    names: Sequence[str], training: Sequence[FloatArray], production: Sequence[FloatArray], categories: Sequence[int]
) -> MultivariateDrift | None:
    """Train and evaluate the classifier.

    Args:
        training: values of each field, shape (n,) each; NaN for null, and for categories codes from 0.
        production: values of each field, shape (m,) each.
        categories: number of categories of each field; 0 for numbers.

    Returns:
        None if there is no field or a table has too few rows.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # a part of scikit-learn, without types

    if not names or len(training[0]) < MIN_ROWS or len(production[0]) < MIN_ROWS:
        return None
    x = np.concatenate((np.stack(training, axis=1), np.stack(production, axis=1)))
    y = np.repeat([0, 1], [len(training[0]), len(production[0])])
    is_category = np.array([n > 0 for n in categories])
    x[~np.isfinite(x)] = np.nan
    # Trees need values to split at: of a column with hardly any, they see only which are null.
    is_rare = np.isfinite(x).sum(axis=0) < _FEW_VALUES
    x[:, is_rare] = np.isnan(x[:, is_rare])
    is_category &= ~is_rare
    rng = np.random.default_rng(_SEED)
    scores = np.empty(len(y))
    loss = np.zeros(len(names))
    # OpenMP threads busy-wait for each other: beside other processes two are slower than one.
    with threadpool_limits(limits=1, user_api="openmp"):
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=_SEED).split(x, y):
            model: Any = HistGradientBoostingClassifier(
                max_iter=60,
                max_leaf_nodes=15,
                learning_rate=0.15,
                early_stopping=False,
                categorical_features=is_category,
                random_state=_SEED,
            )
            model.fit(x[train], y[train])
            scores[test] = model.predict_proba(x[test])[:, 1]
            whole = _auc(scores[test], y[test])
            for i in range(len(names)):
                permuted = x[test].copy()
                permuted[:, i] = rng.permutation(permuted[:, i])
                loss[i] += (whole - _auc(model.predict_proba(permuted)[:, 1], y[test])) / FOLDS
    auc = auc_metric(_hist(scores, y))
    order = np.argsort(-loss, kind="stable")[:TOP_FIELDS]
    top = tuple((names[i], float(loss[i])) for i in order if loss[i] > 0)
    return MultivariateDrift(
        float(auc.value), float(auc.low), float(auc.high), len(training[0]), len(production[0]), top
    )


def _auc(scores: FloatArray, y: NDArray[np.int64]) -> float:
    return float(auc_metric(_hist(scores, y)).value)


def _hist(scores: FloatArray, y: NDArray[np.int64]) -> FloatArray:
    """Count rows by score, as `sketches.performance.bins` defines it."""
    bins = np.searchsorted(_EDGES, scores, "right")
    columns = (None, scores, y.astype(np.float64))
    return np.stack([np.bincount(bins, weights, len(_EDGES) + 1) for weights in columns], axis=1)


def common_categories(field: FieldBaseline) -> tuple[str, ...]:
    """Return the categories that have a bin of their own in PSI, the most frequent first.

    Rare ones are more frequent in training than later, because they were selected there: a classifier would find that.
    """
    cells = field.slices[ALL].cells
    n_common = sum(count * RARE_DIVISOR >= sum(cells) for count in cells[: FieldColumn.UNSEEN])
    return field.categories[:n_common]


def category_codes(values: pa.Array, categories: Sequence[str]) -> FloatArray:
    """Return the index of each text among the categories, their number for other texts, and NaN for null."""
    import pyarrow.compute as pc

    index = pc.index_in(values, value_set=pa.array(categories, pa.string()))
    codes = pc.fill_null(index, len(categories)).to_numpy(zero_copy_only=False).astype(np.float64)
    codes[values.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return np.asarray(codes)
