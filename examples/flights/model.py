"""The demo's classifier: will a flight arrive more than 15 minutes late, as seen at its scheduled departure?

Gradient-boosted trees take nulls and categories as they are. Few, small and slowly learned trees keep the scores near
the observed shares without a calibration step of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, roc_auc_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # a part of scikit-learn, without types

from examples.flights.features import FEATURES

FloatArray = NDArray[np.float64]

THRESHOLD = 0.5
"""From this score on a flight is called `late`: more likely late than not."""
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
    """A trained classifier with the categories that it knows."""

    estimator: Any
    features: tuple[str, ...]
    categories: Mapping[str, Any]
    """By feature, an Arrow array; a value that training did not hold is treated as missing."""

    def scores(self, rows: pa.Table) -> FloatArray:
        """The probability of arriving late, shape (n_rows,)."""
        with _one_thread():
            scores: FloatArray = self.estimator.predict_proba(_matrix(rows, self.features, self.categories))[:, 1]
        return scores


def train(rows: pa.Table, features: tuple[str, ...] = FEATURES) -> DelayModel:
    """Fit the classifier to the rows that have a label; the same rows give the same model."""
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
    """Score every row by a model that saw nothing of its week.

    These are the honest baseline of the score: in-sample scores are more extreme than any that production will see,
    and would show drift from the first hour. Weeks are left out whole, since the weather of an afternoon tells a
    model how the rest of it went.

    Returns:
        Shape (n_rows,); rows without label are scored too.
    """
    fold = _week(rows) % FOLDS
    scores = np.full(rows.num_rows, np.nan)
    for held_out in range(FOLDS):
        inside = fold == held_out
        scores[inside] = train(rows.filter(pa.array(~inside)), features).scores(rows.filter(pa.array(inside)))
    return scores


def classes(scores: FloatArray) -> pa.Array:
    """`late` from the threshold on, else `on time`."""
    return pa.array(np.where(scores >= THRESHOLD, LATE, ON_TIME))


@dataclass(frozen=True)
class Quality:
    """How good scores turned out to be, over the rows with a label."""

    n: int
    auc: float
    brier: float
    """The mean squared difference of score and outcome."""
    mean_score: float
    late_share: float


def quality(rows: pa.Table, scores: FloatArray) -> Quality:
    """Compare scores with labels; both of these must occur."""
    labelled = rows["label"].is_valid().to_numpy()
    late = rows["label"].drop_null().to_numpy()
    scores = scores[labelled]
    return Quality(
        n=len(late),
        auc=float(roc_auc_score(late, scores)),
        brier=float(brier_score_loss(late, scores)),
        mean_score=float(scores.mean()),
        late_share=float(late.mean()),
    )


def _one_thread() -> AbstractContextManager[object]:
    """Keep the trees to one thread.

    OpenMP's threads spin while they wait for one another. On two idle cores two threads fit this model in 0.4 s, one in
    0.65 s; beside two other busy processes, say broker and warehouse, two took 1.6 to 5.3 s and one 0.9 to 1.1 s.
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
