"""What the flights themselves say, without the pipeline: computed from the tables that were replayed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cli.demo.flights import CANDIDATE_ARM, CONTROL_ARM, HOUR_S, LATE, WEEK, last_pane_end


@dataclass(frozen=True, slots=True)
class WeekQuality:
    """How good one version was in one week, by scikit-learn."""

    end: datetime
    """In event time of the replay; weeks begin on Thursdays, as whole weeks since 1970 do."""
    n: int
    """Flights with a label."""
    auc: float
    accuracy: float


@dataclass(frozen=True)
class Source:
    """The tables of one run."""

    train: pa.Table
    """As `examples.flights.replay` has it; so are the others."""
    predictions: pa.Table
    labels: pa.Table

    @property
    def record_end(self) -> datetime:
        """The end of the hour that holds the last prediction."""
        return last_pane_end(self.predictions)

    @property
    def unlabelled(self) -> int:
        """Flights that never landed where they should: cancelled and diverted."""
        return int(self.predictions.num_rows - self.labels.num_rows)

    def silent_hours(self) -> set[datetime]:
        """The hours without a flight between the first and the last one."""
        hours = _seconds(self.predictions) // HOUR_S
        missing = np.setdiff1d(np.arange(hours[0], hours[-1] + 1), hours)
        return {datetime.fromtimestamp(hour * HOUR_S, UTC) for hour in missing.tolist()}

    def unseen(self, field: str) -> dict[str, int]:
        """The values of a category that training did not hold, with their flights."""
        values = self.predictions[f"features.{field}"].drop_null()
        new = values.filter(pc.invert(pc.is_in(values, value_set=self.train[field].unique())))
        return {pair["values"]: pair["counts"] for pair in pc.value_counts(new).to_pylist()}

    def answered(self, version: str) -> int:
        """How many flights a version answered."""
        return int(pc.sum(pc.equal(self.predictions["version"], version)).as_py())

    def label_age_s(self, share: float) -> float:
        """How old a flight was, from its schedule, when such a share of the labels had come."""
        landed = self.labels.select(["id", "at"]).join(
            self.predictions.select(["id", "at"]), "id", right_suffix="_made"
        )
        return float(np.quantile(_seconds(landed) - _seconds(landed, "at_made"), share))

    def mean_scores(self, end: datetime) -> tuple[float, float]:
        """The mean scores of control and candidate in the week that ends at a moment."""
        at_s, end_s = _seconds(self.predictions), int(end.timestamp())
        week = self.predictions.filter(pa.array((at_s >= end_s - WEEK.length_s) & (at_s < end_s)))
        a, b = (
            pc.mean(week.filter(pc.equal(week["arm"], arm))["score"]).as_py() for arm in (CONTROL_ARM, CANDIDATE_ARM)
        )
        return a, b

    def weeks(self, version: str) -> list[WeekQuality]:
        """The quality of a version week by week; weeks in which one of the classes is missing are left out."""
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
