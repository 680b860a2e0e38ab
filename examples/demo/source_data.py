"""Facts about the flights, computed directly from the replayed tables without the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.examples.demo.flights import CANDIDATE_ARM, CONTROL_ARM, HOUR_S, LATE, WEEK, last_pane_end


@dataclass(frozen=True, slots=True)
class WeekQuality:
    """Performance of one version in one week, computed by scikit-learn."""

    end: datetime
    """Event time of the replay. Weeks start on Thursdays, like whole weeks since 1970."""
    n: int
    """Flights with a label."""
    auc: float
    accuracy: float


@dataclass(frozen=True)
class SourceData:
    """The replayed tables of one run."""

    train: pa.Table
    """Columns as in `examples.flights.replay`, like the other tables."""
    predictions: pa.Table
    labels: pa.Table

    @property
    def record_end(self) -> datetime:
        """The end of the hour that holds the last prediction."""
        return last_pane_end(self.predictions)

    @property
    def unlabelled(self) -> int:
        """Number of cancelled and diverted flights."""
        return int(self.predictions.num_rows - self.labels.num_rows)

    def silent_hours(self) -> set[datetime]:
        """Hours without a flight between the first and the last flight."""
        hours = _seconds(self.predictions) // HOUR_S
        missing = np.setdiff1d(np.arange(hours[0], hours[-1] + 1), hours)
        return {datetime.fromtimestamp(hour * HOUR_S, UTC) for hour in missing.tolist()}

    def unseen(self, field: str) -> dict[str, int]:
        """Categories that are not in the training data, with their flight counts."""
        values = self.predictions[f"features.{field}"].drop_null()
        new = values.filter(pc.invert(pc.is_in(values, value_set=self.train[field].unique())))
        return {pair["values"]: pair["counts"] for pair in pc.value_counts(new).to_pylist()}

    def answered(self, version: str) -> int:
        """Number of flights that a version served."""
        return int(pc.sum(pc.equal(self.predictions["version"], version)).as_py())

    def label_age_s(self, share: float) -> float:
        """Age of a flight since its scheduled time by which a share of the labels had arrived, in seconds."""
        landed = self.labels.select(["id", "at"]).join(
            self.predictions.select(["id", "at"]), "id", right_suffix="_made"
        )
        return float(np.quantile(_seconds(landed) - _seconds(landed, "at_made"), share))

    def mean_scores(self, end: datetime) -> tuple[float, float]:
        """Mean scores of control and candidate in the week that ends at `end`."""
        at_s, end_s = _seconds(self.predictions), int(end.timestamp())
        week = self.predictions.filter(pa.array((at_s >= end_s - WEEK.length_s) & (at_s < end_s)))
        a, b = (
            pc.mean(week.filter(pc.equal(week["arm"], arm))["score"]).as_py() for arm in (CONTROL_ARM, CANDIDATE_ARM)
        )
        return a, b

    def weeks(self, version: str) -> list[WeekQuality]:
        """Performance of a version per week, without weeks in which a class is missing."""
        from sklearn.metrics import roc_auc_score

        own = self.predictions.filter(pc.equal(self.predictions["version"], version))
        both = own.select(["id", "at", "score", "class"]).join(
            self.labels.select(["id", "label"]), "id", join_type="inner"
        )
        late = pc.equal(both["label"], LATE).to_numpy()
        called = pc.equal(both["class"], LATE).to_numpy()
        scores = both["score"].to_numpy()
        week = _seconds(both) // WEEK.length_s
        return [
            WeekQuality(
                datetime.fromtimestamp((number + 1) * WEEK.length_s, UTC),
                int(inside.sum()),
                float(roc_auc_score(late[inside], scores[inside])),
                float((late == called)[inside].mean()),
            )
            for number in np.unique(week).tolist()
            if len(np.unique(late[inside := week == number])) > 1
        ]


def _seconds(table: pa.Table, column: str = "at") -> NDArray[np.int64]:
    seconds: NDArray[np.int64] = table[column].cast(pa.int64()).to_numpy() // 1000
    return seconds
