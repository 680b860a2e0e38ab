"""River's change detectors with their default settings, event by event in order of arrival."""

from typing import Any

import numpy as np
from river import drift

from benchmarks.measured_process import JsonObject

DETECTORS = {"ADWIN": drift.ADWIN, "PageHinkley": drift.PageHinkley}


def run(parameters: JsonObject) -> JsonObject:
    """Return the indices of the events at which a detector of a column reports a change.

    The detectors take numbers only, so columns of texts are not followed. A null is skipped. Values are standardized by
    mean and deviation of the training rows, because the default threshold of PageHinkley has the unit of the values.
    """
    with np.load(parameters["reference"]) as reference, np.load(parameters["stream"]) as stream:
        changes = {
            name: _changes(DETECTORS[parameters["detector"]](), reference[name], stream[name])
            for name in parameters["numbers"]
        }
    return {"changes": changes}


def _changes(detector: Any, reference: np.ndarray[Any, Any], stream: np.ndarray[Any, Any]) -> list[int]:
    mean, deviation = np.nanmean(reference), np.nanstd(reference)
    for value in ((reference - mean) / deviation)[~np.isnan(reference)].tolist():
        detector.update(value)
    result = []
    values = ((stream - mean) / deviation).tolist()
    for i in np.flatnonzero(~np.isnan(stream)).tolist():
        detector.update(values[i])
        if detector.drift_detected:
            result.append(i)
    return result
