"""Evidently on prepared DataFrames: the PSI of every column of a minute against the training table."""

from pathlib import Path
from typing import Any

from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

from benchmarks.measured_process import Clock
from benchmarks.peers.child import print_result, read_parameters
from benchmarks.peers.frames import by_minute, read_frame


def main() -> None:
    """Run a report per minute and print every PSI."""
    parameters = read_parameters()
    definition = DataDefinition(numerical_columns=parameters["numbers"])
    columns = parameters["numbers"]
    reference = Dataset.from_pandas(read_frame(Path(parameters["reference"]))[columns], data_definition=definition)
    frames = by_minute(read_frame(Path(parameters["frame"])), parameters["minutes"])
    report = Report([DataDriftPreset(columns=columns, method="psi")])
    # The imports of the first report do not count.
    report.run(Dataset.from_pandas(next(iter(frames.values())).head(100), data_definition=definition), reference).dict()
    clock = Clock()
    result: dict[int, dict[str, Any]] = {
        start: report.run(Dataset.from_pandas(frame[columns], data_definition=definition), reference).dict()
        for start, frame in frames.items()
    }
    spent = clock.read()
    psi = {
        str(start): {
            metric["config"]["column"]: float(metric["value"])
            for metric in one["metrics"]
            if metric["config"]["type"].endswith(":ValueDrift")
        }
        for start, one in result.items()
    }
    minutes = {str(start): len(frame) for start, frame in frames.items()}
    print_result(
        {"events": sum(minutes.values()), "minutes": minutes, "psi": psi, **spent}, "evidently", "pandas", "numpy"
    )


if __name__ == "__main__":
    main()
