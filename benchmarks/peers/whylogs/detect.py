"""whylogs' drift scores with their default algorithms and thresholds: one profile per day against that of training."""

import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
import whylogs as why
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

from benchmarks.measured_process import JsonObject
from benchmarks.peers.frames import Detect, detect_days


def run(parameters: JsonObject) -> JsonObject:
    """Return the columns of the category DRIFT in each chunk."""
    return detect_days(parameters, _prepare)


def _prepare(training: pd.DataFrame, _numbers: list[str], _texts: list[str]) -> Detect:
    reference = why.log(training).view()

    def detect(rows: pd.DataFrame) -> list[str]:
        scores = calculate_drift_scores(why.log(rows).view(), reference, with_thresholds=True)
        return [name for name, score in scores.items() if score and score["drift_category"] == "DRIFT"]

    return detect
