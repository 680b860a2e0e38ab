"""NannyML's direct loss estimation (DLE) with its default settings: mae and rmse of each chunk without labels."""

from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here

# It reshapes columns of texts, which pandas' own type of text does not support.
pd.set_option("future.infer_string", False)

from nannyml.chunk import SizeBasedChunker  # noqa: E402
from nannyml.datasets import load_synthetic_car_price_dataset  # noqa: E402
from nannyml.performance_estimation.direct_loss_estimation import DLE  # noqa: E402

from benchmarks.measured_process import JsonObject  # noqa: E402
from benchmarks.peers.child import CHUNK  # noqa: E402
from benchmarks.peers.frames import read_features  # noqa: E402


def run(parameters: JsonObject) -> JsonObject:
    """Return the estimates of each chunk: chunk → metric → value, low and high."""
    if "car_prices" in parameters:
        _write_car_prices(parameters["car_prices"])
        return {}
    reference, stream = (read_features(parameters, name) for name in ("reference", "stream"))
    features = [name for name in reference.columns if name not in ("score", "label", CHUNK)]
    estimator = DLE(
        feature_column_names=features,
        y_pred="score",
        y_true="label",
        metrics=["mae", "rmse"],
        chunk_size=len(reference),
    )
    estimator.fit(reference.drop(columns=CHUNK))
    estimates: dict[str, Any] = {}
    for chunk, rows in stream.groupby(CHUNK):
        # One chunk at a time: they have different sizes.
        estimator.chunker = SizeBasedChunker(len(rows))
        result = estimator.estimate(rows.drop(columns=["label", CHUNK]).reset_index(drop=True))
        row = result.filter(period="analysis").to_df().iloc[-1]
        bounds = ("value", "lower_confidence_boundary", "upper_confidence_boundary")
        estimates[str(chunk)] = {metric: [float(row[metric, name]) for name in bounds] for metric in ("mae", "rmse")}
    return {"estimates": estimates}


def _write_car_prices(paths: list[str]) -> None:
    """Write the table of used cars that NannyML ships, as Parquet: the reference, and the later rows with labels."""
    reference, later, labels = load_synthetic_car_price_dataset()
    for path, rows in zip(paths, (reference, later.assign(y_true=labels["y_true"])), strict=True):
        rows = rows.rename(columns={"y_pred": "score", "y_true": "label"}).drop(columns=["id", "timestamp"])
        rows.to_parquet(path, index=False)
