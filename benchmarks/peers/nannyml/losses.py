"""NannyML's direct loss estimation (DLE) with its default settings: mae and rmse of each chunk without labels."""

from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here

# It reshapes columns of texts, which pandas' own type of text does not support.
pd.set_option("future.infer_string", False)

from nannyml.chunk import SizeBasedChunker  # noqa: E402
from nannyml.performance_estimation.direct_loss_estimation import DLE  # noqa: E402

from benchmarks.peers.child import CHUNK, print_result, read_parameters  # noqa: E402
from benchmarks.peers.frames import read_features  # noqa: E402


def main() -> None:
    """Print the estimates of each chunk: chunk → metric → value, low and high."""
    parameters = read_parameters()
    texts = parameters["texts"]
    reference, stream = (read_features(Path(parameters[name]), texts) for name in ("reference", "stream"))
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
    print_result({"estimates": estimates}, "nannyml")


if __name__ == "__main__":
    main()
