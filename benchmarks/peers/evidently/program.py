"""Evidently on prepared DataFrames: the PSI of every column of a minute against the training table."""

from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

from benchmarks.measured_process import Clock, JsonObject
from benchmarks.peers.frames import by_minute, read_frame


def run(parameters: JsonObject) -> JsonObject:
    """Run a report per minute and return every PSI."""
    columns = parameters["numbers"]
    definition = DataDefinition(numerical_columns=columns)
    reference = Dataset.from_pandas(read_frame(parameters["reference"])[columns], data_definition=definition)
    frames = by_minute(read_frame(parameters["frame"]), parameters["minutes"])
    report = Report([DataDriftPreset(columns=columns, method="psi")])

    def metrics(frame: pd.DataFrame) -> list[dict[str, Any]]:
        result = report.run(Dataset.from_pandas(frame[columns], data_definition=definition), reference)
        rows: list[dict[str, Any]] = result.dict()["metrics"]
        return rows

    # The imports of the first report do not count.
    metrics(next(iter(frames.values())).head(100))
    clock = Clock()
    results = {str(start): metrics(frame) for start, frame in frames.items()}
    spent = clock.read()
    psi = {
        start: {
            metric["config"]["column"]: float(metric["value"])
            for metric in rows
            if metric["config"]["type"].endswith(":ValueDrift")
        }
        for start, rows in results.items()
    }
    minutes = {str(start): len(frame) for start, frame in frames.items()}
    return {"events": sum(minutes.values()), "minutes": minutes, "psi": psi, **spent}
