"""whylogs' drift scores with their default algorithms and thresholds: one profile per day against that of training."""

from pathlib import Path
from typing import Any

import whylogs as why
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

from benchmarks.peers.child import CHUNK, print_result, read_parameters
from benchmarks.peers.frames import read_features


def main() -> None:
    """Print the columns of the category DRIFT in each chunk."""
    parameters = read_parameters()
    texts = parameters["texts"]
    columns = [*parameters["numbers"], *texts]
    reference = why.log(read_features(Path(parameters["reference"]), texts)[columns]).view()
    stream = read_features(Path(parameters["stream"]), texts)
    drifted = {
        str(chunk): _drifted(calculate_drift_scores(why.log(rows[columns]).view(), reference, with_thresholds=True))
        for chunk, rows in stream.groupby(CHUNK)
    }
    print_result({"drifted": drifted}, "whylogs")


def _drifted(scores: dict[str, dict[str, Any] | None]) -> list[str]:
    return [name for name, score in scores.items() if score and score["drift_category"] == "DRIFT"]


if __name__ == "__main__":
    main()
