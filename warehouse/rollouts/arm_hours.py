"""Hourly sums of two arms from `arm_counts`, and how many units they have had."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_days import arm_parameters, total_sql
from barograph_server.warehouse.scoring.label_join import UNIT_BUCKETS
from barograph_server.warehouse.scoring.rules import ArmTest

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAX_DAYS = 60
"""Days that a comparison by the hour covers, from the first hour with both arms. A longer test is one for `promote`."""

_COUNTED = (
    "FROM arm_counts AS counts FINAL WHERE model = {model:String} AND basis = {basis:String} "
    "AND unit = {unit:String} AND slice = 'all' AND arm IN {arms:Array(String)} AND counts.predictions > 0"
)
_BOTH = f"SELECT window_start {_COUNTED} GROUP BY window_start HAVING uniqExact(arm) = 2"
_FIRST = f"SELECT min(window_start) FROM ({_BOTH})"
_COMPARED = f"{_COUNTED} AND window_start IN ({_BOTH}) AND window_start < ({_FIRST}) + toIntervalDay({{days:UInt16}})"
"""The windows that are compared: those with both arms, for `MAX_DAYS` from the first."""


@dataclass(frozen=True, slots=True)
class ArmHours:
    """Sums of two arms over H score windows with both, in order."""

    ends: IntArray
    """Ends of the windows, Unix seconds, (H,)."""
    sums: dict[str, FloatArray]
    """By column of `arm_counts`, each of shape (H, 2, buckets): the control first. There is one bucket if each
    prediction is assigned by itself."""
    units: IntArray
    """Distinct units of each arm up to the end of each window, (H, 2). Predictions are those of the windows with both
    arms; units are those of every hour from the arm's first raw row on."""


def arm_hours(
    client: Client, model: str, test: ArmTest, control: str, arm: str, basis: str, columns: Sequence[str]
) -> ArmHours | None:
    """Read the sums of the slice `all` since the first window with both arms, for `MAX_DAYS`; None if there is none.

    Args:
        basis: the hash of the scoring rules.
        columns: columns of `arm_counts` to read; `predictions` is always there.
    """
    names = sorted({"predictions", *columns})
    rows = client.arrow(
        "SELECT toUnixTimestamp(window_start) + max(window_s) AS end, arm = {arm:String} AS side, bucket, "
        f"{', '.join(map(total_sql, names))} {_COMPARED} GROUP BY window_start, side, bucket ORDER BY window_start",
        arm_parameters(model, test, control, arm, basis) | {"days": MAX_DAYS},
    )
    if not rows.num_rows:
        return None
    ends, hour = np.unique(np.asarray(rows["end"].to_numpy(), np.int64), return_inverse=True)
    side, bucket = (np.asarray(rows[name].to_numpy(), np.int64) for name in ("side", "bucket"))
    sums = {}
    for name in names:
        sums[name] = np.zeros((len(ends), 2, UNIT_BUCKETS if test.unit else 1))
        sums[name][hour, side, bucket] = np.asarray(rows[name].to_numpy(), np.float64)
    return ArmHours(ends, sums, _units(client, model, test, control, arm, ends, sums["predictions"]))


def newest_end(client: Client, model: str, test: ArmTest, control: str, arm: str, basis: str) -> int:
    """Return the last of the ends of `arm_hours`, Unix seconds; 0 if there is none.

    It reads few columns and no raw rows, so late data, which changes earlier windows, costs no more than this.
    """
    ((end,),) = client.rows(
        f"SELECT toUnixTimestamp(max(window_start + window_s)) {_COMPARED}",
        arm_parameters(model, test, control, arm, basis) | {"days": MAX_DAYS},
    )
    return int(end)


def _units(
    client: Client, model: str, test: ArmTest, control: str, arm: str, ends: IntArray, predictions: FloatArray
) -> IntArray:
    """Count distinct units up to each end: of raw rows, since units of several hours do not add up.

    They include units of hours without the other arm.
    """
    if not test.unit:
        return np.cumsum(predictions.sum(axis=-1), axis=0).astype(np.int64)
    rows = client.rows(
        "SELECT side, toUnixTimestamp(hour), count() FROM (SELECT arm = {arm:String} AS side, "
        "min(toStartOfHour(at)) AS hour FROM predictions WHERE model = {model:String} "
        "AND arm IN {arms:Array(String)} AND context[{name:String}] != '' "
        "GROUP BY side, context[{name:String}]) GROUP BY side, hour",
        {"model": model, "arm": arm, "arms": [control, arm], "name": test.unit.partition(".")[2]},
    )
    units = np.zeros((len(ends), 2), np.int64)
    for side, start_s, count in rows:
        units[ends > start_s, side] += count
    return units
