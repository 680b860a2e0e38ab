"""NannyML's univariate drift detection with its default settings, in chunks of a day."""

from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
from nannyml.drift.univariate import UnivariateDriftCalculator

from benchmarks.peers.child import CHUNK, print_result, read_parameters
from benchmarks.peers.frames import read_features

AT = "at"
FIRST_DAY = pd.Timestamp("2000-01-01")
"""A made-up date of chunk 0: NannyML divides rows by timestamps."""


def main() -> None:
    """Print the columns with an alert in each chunk."""
    parameters = read_parameters()
    texts = parameters["texts"]
    columns = [*parameters["numbers"], *texts]
    calculator = UnivariateDriftCalculator(
        column_names=columns, treat_as_categorical=texts, timestamp_column_name=AT, chunk_period="D"
    )
    calculator.fit(_dated(parameters["reference"], texts))
    result = calculator.calculate(_dated(parameters["stream"], texts)).filter(period="analysis").to_df()
    days = (pd.to_datetime(result[("chunk", "chunk", "start_date")]) - FIRST_DAY).dt.days
    alerts = {name: result[(name, "jensen_shannon", "alert")].to_numpy() for name in columns}
    drifted = {str(day): [name for name in columns if alerts[name][i]] for i, day in enumerate(days)}
    print_result({"drifted": drifted}, "nannyml")


def _dated(path: str, texts: list[str]) -> pd.DataFrame:
    frame = read_features(Path(path), texts)
    return frame.assign(**{AT: FIRST_DAY + pd.to_timedelta(frame.pop(CHUNK), unit="D")})


if __name__ == "__main__":
    main()
