"""alibi-detect's test of tables with its default settings: one test per day against the training rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
from alibi_detect.cd import TabularDrift

from benchmarks.peers.child import CHUNK, print_result, read_parameters
from benchmarks.peers.frames import read_features


def main() -> None:
    """Print the columns whose p-value is below the corrected threshold in each chunk."""
    parameters = read_parameters()
    numbers, texts = parameters["numbers"], parameters["texts"]
    columns = [*numbers, *texts]
    # The test has no notion of null: rows with one are left out.
    reference = read_features(Path(parameters["reference"]), texts)[columns].dropna()
    stream = read_features(Path(parameters["stream"]), texts).dropna()
    drifted = {}
    for chunk, rows in stream.groupby(CHUNK):
        # The χ² test needs all categories in advance, those of the day too, and rejects one that never occurs.
        codes = {name: _codes(reference[name], rows[name]) for name in texts}
        categories = {columns.index(name): list(range(len(codes[name]))) for name in texts}
        test = TabularDrift(_matrix(reference, columns, codes), categories_per_feature=categories)
        data = test.predict(_matrix(rows, columns, codes))["data"]
        below = np.asarray(data["p_val"]) < data["threshold"]
        drifted[str(chunk)] = [name for name, is_below in zip(columns, below, strict=True) if is_below]
    print_result({"drifted": drifted}, "alibi-detect")


def _codes(*columns: pd.Series) -> dict[str, int]:
    """Number the categories of some columns."""
    return {text: i for i, text in enumerate(sorted(set().union(*columns)))}


def _matrix(frame: pd.DataFrame, columns: list[str], codes: dict[str, dict[str, int]]) -> np.ndarray[Any, Any]:
    return np.column_stack([frame[name].map(codes[name]) if name in codes else frame[name] for name in columns])


if __name__ == "__main__":
    main()
