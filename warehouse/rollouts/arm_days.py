"""Daily sums of two arms of an A/B test from `arm_counts`, by the local days of the model's users."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.days import matured_until
from barograph_server.warehouse.scoring.arms import PREDICTION
from barograph_server.warehouse.scoring.cell_counts import unscaled, whole
from barograph_server.warehouse.scoring.label_join import UNIT_BUCKETS
from barograph_server.warehouse.scoring.rules import ArmTest
from barograph_server.warehouse.tables import SCHEMAS

FloatArray = NDArray[np.float64]

COUNTED = ("predictions", "failed", "timed", "log_latency", "labelled", "right", "scored", "loss", "brier", "error")
"""Columns of `arm_counts` that add up over windows."""


@dataclass(frozen=True, slots=True)
class ArmDays:
    """Sums of two arms in one slice over t local days, in order."""

    slice: str
    days: tuple[str, ...]
    """Dates, such as `2026-03-29`."""
    ended: NDArray[np.bool_]
    """Shape (t,): whether the day is over, by the newest score window."""
    mature: NDArray[np.bool_]
    """Shape (t,): whether the labels of the whole day are mature."""
    sums: dict[str, FloatArray]
    """By column of `COUNTED`, each of shape (t, 2, buckets): the control first. Slices other than `all` have one
    bucket."""
    versions: tuple[tuple[str, ...], tuple[str, ...]]
    """The versions that served each arm."""


def arm_days(client: Client, model: str, test: ArmTest, control: str, arm: str, basis: str, zone: str) -> list[ArmDays]:
    """Read the daily sums of every slice, `all` first; none if neither arm has been counted.

    Args:
        basis: the hash of the scoring rules.
        zone: the time zone whose midnights divide days.
    """
    parameters = arm_parameters(model, test, control, arm, basis) | {"zone": zone}
    sums = ", ".join(total_sql(name) for name in COUNTED)
    sql = (
        "SELECT slice, arm = {arm:String} AS side, bucket, "
        "toString(toDate(window_start, {zone:String})) AS day, "
        "toUnixTimestamp(toDateTime(toDate(window_start, {zone:String}) + 1, {zone:String})) AS day_end, "
        "toUnixTimestamp(max(window_start) + max(window_s)) AS end, groupUniqArray(toString(version)) AS versions, "
        f"{sums} FROM arm_counts AS counts FINAL WHERE model = {{model:String}} AND basis = {{basis:String}} "
        "AND unit = {unit:String} AND arm IN {arms:Array(String)} AND counts.predictions > 0 "
        "GROUP BY slice, side, bucket, day, day_end ORDER BY slice != 'all', slice, day"
    )
    rows = client.arrow(sql, parameters)
    if not rows.num_rows:
        return []
    newest_end_s = int(np.max(_numbers(rows, "end")))
    matured_s = matured_until(client, model)
    names = np.array(rows["slice"].to_pylist())
    starts = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    ends = np.append(starts[1:], len(names))
    return [
        _slice_days(str(names[start]), rows.slice(start, end - start), newest_end_s, matured_s)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def arm_parameters(model: str, test: ArmTest, control: str, arm: str, basis: str) -> dict[str, Any]:
    """Return the parameters that select the rows of two arms in `arm_counts`."""
    return {"model": model, "basis": basis, "unit": test.unit or PREDICTION, "arms": [control, arm], "arm": arm}


def _slice_days(name: str, rows: pa.Table, newest_end_s: int, matured_s: int) -> ArmDays:
    days, day = np.unique(np.array(rows["day"].to_pylist()), return_inverse=True)
    day_ends = np.zeros(len(days))
    day_ends[day] = _numbers(rows, "day_end")
    side, bucket = (_numbers(rows, column).astype(np.int64) for column in ("side", "bucket"))
    shape = (len(days), 2, UNIT_BUCKETS if name == ALL else 1)
    sums = {}
    for column in COUNTED:
        sums[column] = np.zeros(shape)
        sums[column][day, side, bucket] = _numbers(rows, column)
    versions = rows["versions"].to_pylist()
    served = [sorted({each for i, own in enumerate(versions) if side[i] == s for each in own}) for s in (0, 1)]
    return ArmDays(
        name,
        tuple(map(str, days)),
        day_ends <= newest_end_s,
        day_ends <= matured_s,
        sums,
        (tuple(served[0]), tuple(served[1])),
    )


def total_sql(name: str) -> str:
    """Return the sum of a column of `counts`; one with decimals in whole numbers, in any order the same bits."""
    if not pa.types.is_floating(SCHEMAS["arm_counts"].field(name).type):
        return f"sum(counts.{name}) AS {name}"
    total = f"sum({whole(f'counts.{name}', 'toInt256')})"
    return f"{unscaled(total)} AS {name}"


def _numbers(rows: pa.Table, column: str) -> FloatArray:
    return np.asarray(rows[column].to_numpy(), np.float64)
