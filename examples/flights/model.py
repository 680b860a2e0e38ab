"""The classifier of the demo: predicts at the scheduled departure whether a flight arrives more than 15 minutes late.

Gradient-boosted trees support nulls and categories. Few small trees with a low learning rate keep the scores near the
observed shares without a separate calibration step.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # a part of scikit-learn, without types

from barograph_server.examples.flights.features import FEATURES

FloatArray = NDArray[np.float64]

THRESHOLD = 0.5
"""Flights with at least this score are classified as `late`."""
LATE, ON_TIME = "late", "on time"
FOLDS = 5
SEED = 2013

_SETTINGS: dict[str, Any] = {
    "max_iter": 80,
    "learning_rate": 0.05,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 100,
    "early_stopping": False,
    "random_state": SEED,
}


@dataclass(frozen=True)
class DelayModel:
    """A trained classifier with its categories."""

    estimator: Any
    features: tuple[str, ...]
    categories: Mapping[str, Any]
    """Feature → Arrow array of categories; other values are treated as missing."""

    def scores(self, rows: pa.Table) -> FloatArray:
        """The probability of arriving late, shape (n_rows,)."""
        with _one_thread():
            scores: FloatArray = self.estimator.predict_proba(_matrix(rows, self.features, self.categories))[:, 1]
        return scores


def train(rows: pa.Table, features: tuple[str, ...] = FEATURES) -> DelayModel:
    """Fit the classifier to the rows with a label; equal rows give equal models."""
    labelled = rows.filter(rows["label"].is_valid())
    categories = {
        name: labelled[name].unique().drop_null() for name in features if pa.types.is_string(labelled[name].type)
    }
    estimator = HistGradientBoostingClassifier(
        categorical_features=[name in categories for name in features], **_SETTINGS
    )
    with _one_thread():
        estimator.fit(_matrix(labelled, features, categories), labelled["label"].to_numpy())
    return DelayModel(estimator, features, categories)


def out_of_fold_scores(rows: pa.Table, features: tuple[str, ...] = FEATURES) -> FloatArray:
    """Score every row by a model that was not trained on its week.

    These scores are the baseline: in-sample scores are more extreme than those in production and would show drift from
    the first hour. Folds consist of whole weeks because flights of the same afternoon share their weather.

    Returns:
        Shape (n_rows,), including rows without label.
    """
    fold = _week(rows) % FOLDS
    scores = np.full(rows.num_rows, np.nan)
    for held_out in range(FOLDS):
        inside = fold == held_out
        scores[inside] = train(rows.filter(pa.array(~inside)), features).scores(rows.filter(pa.array(inside)))
    return scores


def classes(scores: FloatArray) -> pa.Array:
    """`late` for scores of at least `THRESHOLD`, otherwise `on time`."""
    return pa.array(np.where(scores >= THRESHOLD, LATE, ON_TIME))


def auc(rows: pa.Table, scores: FloatArray) -> float:
    """Compare scores with labels, of which both values must occur."""
    labelled = rows["label"].is_valid().to_numpy()
    return float(roc_auc_score(rows["label"].drop_null().to_numpy(), scores[labelled]))


def _one_thread() -> AbstractContextManager[object]:
    """Limit OpenMP to one thread.

    OpenMP threads busy-wait for each other. On two idle cores, two threads fit this model in 0.4 s and one in 0.65 s.
    Beside two other busy processes, such as broker and warehouse, two threads took 1.6 to 5.3 s and one 0.9 to 1.1 s.
    """
    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="openmp")
    return limits


def _matrix(rows: pa.Table, features: tuple[str, ...], categories: Mapping[str, Any]) -> FloatArray:
    """Features as doubles, shape (n_rows, n_features): categories by index, missing and unknown ones NaN."""
    columns = []
    for name in features:
        column = pc.index_in(rows[name], value_set=categories[name]) if name in categories else rows[name]
        columns.append(column.cast(pa.float64()).to_numpy())
    return np.column_stack(columns)


def _week(rows: pa.Table) -> NDArray[np.int64]:
    """Whole weeks of local dates since the first row's date, shape (n_rows,)."""
    days = rows["original_date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    week: NDArray[np.int64] = (days - days.min()) // 7
    return week
