"""Evidently's drift detection with its default settings: one report per day against the training rows."""

from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

from benchmarks.measured_process import JsonObject
from benchmarks.peers.frames import Detect, detect_days


def run(parameters: JsonObject) -> JsonObject:
    """Return the columns that are called drifted in each chunk."""
    return detect_days(parameters, _prepare)


def _prepare(training: pd.DataFrame, numbers: list[str], texts: list[str]) -> Detect:
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    reference = Dataset.from_pandas(training, data_definition=definition)
    report = Report([DataDriftPreset(columns=[*numbers, *texts])])

    def detect(rows: pd.DataFrame) -> list[str]:
        result = report.run(Dataset.from_pandas(rows, data_definition=definition), reference).dict()
        return [metric["config"]["column"] for metric in result["metrics"] if _is_drifted(metric)]

    return detect


def _is_drifted(metric: dict[str, Any]) -> bool:
    """Whether the test of a column rejects: a distance above its threshold, or a p-value below it."""
    config = metric["config"]
    if not config["type"].endswith(":ValueDrift"):
        return False
    value, threshold = float(metric["value"]), float(config["threshold"])
    return value < threshold if "p_value" in config["method"] else value > threshold
