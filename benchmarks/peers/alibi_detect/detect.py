"""alibi-detect's test of tables with its default settings: one test per day against the training rows."""

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
from alibi_detect.cd import TabularDrift

from benchmarks.measured_process import JsonObject
from benchmarks.peers.frames import Detect, detect_days


def run(parameters: JsonObject) -> JsonObject:
    """Return the columns whose p-value is below the corrected threshold in each chunk."""
    return detect_days(parameters, _prepare)


def _prepare(training: pd.DataFrame, numbers: list[str], texts: list[str]) -> Detect:
    # The test has no notion of null: rows with one are left out.
    reference, columns = training.dropna(), [*numbers, *texts]

    def detect(rows: pd.DataFrame) -> list[str]:
        rows = rows.dropna()
        if rows.empty:
            return []
        # The χ² test needs all categories in advance, those of the day too, and rejects one that never occurs.
        codes = {name: _codes(reference[name], rows[name]) for name in texts}
        categories = {columns.index(name): list(range(len(codes[name]))) for name in texts}
        test = TabularDrift(_matrix(reference, codes), categories_per_feature=categories)
        data = test.predict(_matrix(rows, codes))["data"]
        below = np.asarray(data["p_val"]) < data["threshold"]
        return [name for name, is_below in zip(columns, below, strict=True) if is_below]

    return detect


def _codes(*columns: pd.Series) -> dict[str, int]:
    """Number the categories of some columns."""
    return {text: i for i, text in enumerate(sorted(set().union(*columns)))}


def _matrix(frame: pd.DataFrame, codes: dict[str, dict[str, int]]) -> np.ndarray[Any, Any]:
    return np.column_stack([frame[name].map(codes[name]) if name in codes else frame[name] for name in frame])
