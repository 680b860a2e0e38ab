"""NannyML's univariate drift detection with its default settings, in chunks of a day."""

import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
from nannyml.drift.univariate import UnivariateDriftCalculator

from benchmarks.measured_process import JsonObject
from benchmarks.peers.child import CHUNK
from benchmarks.peers.frames import AT, read_features

FIRST_DAY = pd.Timestamp("2000-01-01")
"""A made-up date of chunk 0: NannyML divides rows by timestamps."""


def run(parameters: JsonObject) -> JsonObject:
    """Return the columns with an alert in each chunk."""
    columns = [*parameters["numbers"], *parameters["texts"]]
    calculator = UnivariateDriftCalculator(
        column_names=columns, treat_as_categorical=parameters["texts"], timestamp_column_name=AT, chunk_period="D"
    )
    calculator.fit(_dated(read_features(parameters, "reference")))
    result = calculator.calculate(_dated(read_features(parameters, "stream"))).filter(period="analysis").to_df()
    days = (pd.to_datetime(result[("chunk", "chunk", "start_date")]) - FIRST_DAY).dt.days
    alerts = {name: result[(name, "jensen_shannon", "alert")].to_numpy() for name in columns}
    return {"drifted": {str(day): [name for name in columns if alerts[name][i]] for i, day in enumerate(days)}}


def _dated(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{AT: FIRST_DAY + pd.to_timedelta(frame.pop(CHUNK), unit="D")})
