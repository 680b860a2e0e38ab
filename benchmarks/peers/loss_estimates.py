"""Errors of regressions estimated without labels, beside NannyML's: `python -m benchmarks.peers.loss_estimates`.

Two models each predict the air time and the arrival delay of flights from New York in 2013, and are trained on January
and February. What errors mean is learned from March and April, and the months from May on are estimated and compared
with their labels. NannyML, which is installed into an environment of its own, ships one more table: car prices,
made by a program, 60,000 to learn from and ten chunks of 6,000.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from barograph_server.batch.compare.compare import compare
from barograph_server.examples.flights.data import read_flights
from benchmarks.peers import environments

FloatArray = NDArray[np.float64]
NUMBERS = ("distance", "hour", "temp", "wind_speed", "visib", "precip", "pressure")
TEXTS = ("carrier", "origin", "dest")
CAR_TEXTS = ("fuel", "transmission")
CAR_CHUNK = 6_000
METRICS = ("mae", "rmse")


def main() -> None:
    """Print the mean absolute error of the estimates of eight months, by model, metric and method."""
    environments.install("nannyml")
    methods = "reference", "predictions", "features", "nannyml"
    print(f"{'':18}" + "".join(f"{name:>24}" for name in methods) + "   (mae, rmse)")
    totals: list[FloatArray] = []
    inside = {"weeks": 0, "nannyml": 0}
    for target in ("air_time", "arr_delay"):
        for model in ("linear", "trees"):
            rows = _predicted(target, model)
            months = pc.month(rows["at"]).to_numpy()
            reference, stream = rows.filter(pa.array((months >= 3) & (months <= 4))), rows.filter(pa.array(months >= 5))
            estimates, labels = _estimated(reference, stream), _labels(stream)
            # How far held-out weeks of the reference are off, as a measure of the error of later months.
            first = rows.filter(pa.array(months == 3))
            spread = _week_error(first, rows.filter(pa.array(months == 4)))
            inside["weeks"] += sum(abs(estimates["features"][m][0] - labels[m][0]) <= 1.96 * spread for m in labels)
            bands = _nannyml(reference, stream, TEXTS)
            estimates["nannyml"] = {month: bands[month][:, 0] for month in labels}
            inside["nannyml"] += sum(bands[m][0, 1] <= labels[m][0] <= bands[m][0, 2] for m in labels)
            totals.append(_errors(estimates, labels))
            _print_line(f"{target} {model}", totals[-1])
    _print_line("mean", np.mean(totals, axis=0))
    n_months = len(totals) * len(labels)
    print(f"mae within 1.96 times the error of held-out weeks: {inside['weeks']} of {n_months} months")
    print(f"mae within NannyML's band: {inside['nannyml']} of {n_months} months")
    reference, stream = _car_prices()
    estimates = _estimated(reference, stream)
    estimates["nannyml"] = {m: each[:, 0] for m, each in _nannyml(reference, stream, CAR_TEXTS).items()}
    _print_line("car prices", _errors(estimates, _labels(stream)))


def _estimated(reference: pa.Table, stream: pa.Table) -> dict[str, dict[int, FloatArray]]:
    """Return the estimates of each month by method, the peer's left out."""
    return {
        "reference": dict.fromkeys(_labels(stream), _metrics(reference)),
        "predictions": _estimates(reference.select(("at", "score", "label")), stream),
        "features": _estimates(reference, stream),
    }


def _labels(rows: pa.Table) -> dict[int, FloatArray]:
    months = pc.month(rows["at"]).to_numpy()
    is_of_year = pc.equal(pc.year(rows["at"]), 2013).to_numpy()
    return {int(m): _metrics(rows.filter(pa.array(is_of_year & (months == m)))) for m in np.unique(months[is_of_year])}


def _errors(estimates: dict[str, dict[int, FloatArray]], labels: dict[int, FloatArray]) -> FloatArray:
    """Return the mean absolute errors of the months, shape (methods, 2)."""
    return np.array([np.mean([np.abs(each[m] - labels[m]) for m in labels], axis=0) for each in estimates.values()])


def _car_prices() -> tuple[pa.Table, pa.Table]:
    """Return the tables of car prices that NannyML ships: a reference, and a chunk in each month from March on."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{name}.parquet" for name in ("reference", "later")]
        environments.run("nannyml", {"car_prices": paths}, "losses")
        tables = [pq.read_table(path) for path in paths]
    year = np.datetime64("2013-01", "M")
    months = [np.repeat(year, tables[0].num_rows), year + 2 + np.arange(tables[1].num_rows) // CAR_CHUNK]
    parts = []
    for table, month in zip(tables, months, strict=True):
        # Evenly spread over four weeks.
        second = np.arange(len(month)) % CAR_CHUNK * (28 * 86_400 // CAR_CHUNK)
        at = pa.array(month.astype("datetime64[s]") + second).cast(pa.timestamp("us", "UTC"))
        parts.append(table.append_column("at", at))
    return parts[0], parts[1]


def _print_line(name: str, errors: FloatArray) -> None:
    print(f"{name:18}" + "".join(f"{mae:15.3f}, {rmse:7.3f}" for mae, rmse in errors), flush=True)


def _predicted(target: str, model: str) -> pa.Table:
    """Return features, prediction and label of each flight with a label."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge

    table = read_flights().sort_by("scheduled_at")
    table = table.filter(pc.and_(pc.is_valid(table[target]), pc.is_valid(table["dep_delay"])))
    names = (*NUMBERS, *(("dep_delay",) if target == "arr_delay" else ()))
    columns = {name: table[name].cast(pa.float64()).to_numpy() for name in names}
    label = table[target].cast(pa.float64()).to_numpy()
    is_training = pc.month(table["scheduled_at"]).to_numpy() <= 2
    x = [np.where(np.isnan(each), np.nanmedian(each[is_training]), each) for each in columns.values()]
    regression = Ridge()
    if model == "trees":
        regression = HistGradientBoostingRegressor(random_state=0)
        x += [table[name].combine_chunks().dictionary_encode().indices.to_numpy() for name in TEXTS]
    inputs = np.stack(x, axis=1)
    score = regression.fit(inputs[is_training], label[is_training]).predict(inputs)
    texts = {name: table[name] for name in TEXTS}
    return pa.table({"at": table["scheduled_at"], **columns, **texts, "score": score, "label": label})


def _metrics(rows: pa.Table) -> FloatArray:
    error = rows["score"].to_numpy() - rows["label"].to_numpy()
    return np.array([np.abs(error).mean(), np.sqrt((error**2).mean())])


def _estimates(reference: pa.Table, stream: pa.Table) -> dict[int, FloatArray]:
    of_period = _compared(reference, stream.select(reference.column_names), "month")
    return {int(period.removeprefix("2013-")): each[0] for period, each in of_period.items() if period < "2014"}


def _week_error(reference: pa.Table, stream: pa.Table) -> float:
    """Return the root mean square of the error of the estimated mae of weeks."""
    weeks = _compared(reference, stream, "week").values()
    return float(np.sqrt(np.mean([(estimate[0] - value[0]) ** 2 for estimate, value in weeks])))


def _compared(reference: pa.Table, stream: pa.Table, by: Any) -> dict[str, FloatArray]:
    """Return estimates and values of mae and rmse of each period, shape (2, 2)."""
    report = compare(reference, stream, time="at", score="score", label="label", by=by, multivariate=False)
    periods: dict[str, dict[str, tuple[float, float]]] = {}
    for each in report.performance:
        periods.setdefault(each.period, {})[each.metric] = each.estimate, each.value
    return {period: np.array([of_metric[name] for name in METRICS]).T for period, of_metric in periods.items()}


def _nannyml(reference: pa.Table, stream: pa.Table, texts: Sequence[str]) -> dict[int, FloatArray]:
    """Return value, low and high of mae and rmse of each month, shape (2, 3)."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, rows in (("reference", reference), ("stream", stream.filter(pc.less(pc.year(stream["at"]), 2014)))):
            paths[name] = str(Path(folder) / f"{name}.npz")
            columns = {column: rows[column].to_numpy() for column in rows.column_names if column != "at"}
            columns |= {column: columns[column].astype(str) for column in texts}
            np.savez(paths[name], chunk=pc.month(rows["at"]).to_numpy(), **columns)
        result = environments.run("nannyml", {**paths, "texts": list(texts)}, "losses")
    return {int(month): np.array([each[name] for name in METRICS]) for month, each in result["estimates"].items()}


if __name__ == "__main__":
    main()
