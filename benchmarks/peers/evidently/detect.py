"""Evidently's drift detection with its default settings: one report per day against the training rows."""

from pathlib import Path
from typing import Any

from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

from benchmarks.peers.child import CHUNK, print_result, read_parameters
from benchmarks.peers.frames import read_features


def main() -> None:
    """Print the columns that are called drifted in each chunk."""
    parameters = read_parameters()
    numbers, texts = parameters["numbers"], parameters["texts"]
    columns = [*numbers, *texts]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    training = read_features(Path(parameters["reference"]), texts)[columns]
    reference = Dataset.from_pandas(training, data_definition=definition)
    report = Report([DataDriftPreset(columns=columns)])
    stream = read_features(Path(parameters["stream"]), texts)
    drifted = {
        str(chunk): _drifted(
            report.run(Dataset.from_pandas(rows[columns], data_definition=definition), reference).dict()
        )
        for chunk, rows in stream.groupby(CHUNK)
    }
    print_result({"drifted": drifted}, "evidently")


def _drifted(result: dict[str, Any]) -> list[str]:
    """Return the columns whose test rejects: a distance above its threshold, or a p-value below it."""
    columns = []
    for metric in result["metrics"]:
        config = metric["config"]
        if config["type"].endswith(":ValueDrift"):
            value, threshold = float(metric["value"]), float(config["threshold"])
            if value < threshold if "p_value" in config["method"] else value > threshold:
                columns.append(config["column"])
    return columns


if __name__ == "__main__":
    main()
