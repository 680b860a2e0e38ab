"""The table of used cars that NannyML ships, as Parquet: predictions of prices, their labels and features."""

from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here

pd.set_option("future.infer_string", False)

from nannyml.datasets import load_synthetic_car_price_dataset  # noqa: E402

from benchmarks.peers.child import print_result, read_parameters  # noqa: E402


def main() -> None:
    """Print the paths of the reference and of the later rows."""
    reference, later, labels = load_synthetic_car_price_dataset()
    paths = []
    for name, rows in (("reference", reference), ("later", later.assign(y_true=labels["y_true"]))):
        paths.append(str(Path(read_parameters()["folder"]) / f"{name}.parquet"))
        rows = rows.rename(columns={"y_pred": "score", "y_true": "label"}).drop(columns=["id", "timestamp"])
        rows.to_parquet(paths[-1], index=False)
    print_result({"paths": paths}, "nannyml")


if __name__ == "__main__":
    main()
