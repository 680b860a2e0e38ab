"""The hour of the week of event times, in a time zone, with daylight saving time."""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from barograph.contract import SECONDS_PER_HOUR

from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.season import HourArray


def hour_unit_s(pane_s: int) -> int:
    """Return the unit that lies in one hour of the week: an hour, or a pane if panes are longer."""
    return max(SECONDS_PER_HOUR, pane_s)


def compute_hours_of_week(starts_s: IntArray, unit_s: int, timezone: str) -> HourArray:
    """Return the hour of the week of each time: weekday (0 is Monday) · 24 + hour, both local and of the unit's start.

    Units begin at multiples of their length since 1970 in UTC, so that panes, hours and training rows agree: in zones
    with an offset of half an hour an hour begins at half past. When daylight saving time ends, an hour occurs twice.

    Args:
        starts_s: Unix seconds, any shape.
        unit_s: the result of `hour_unit_s`.
    """
    units, index = np.unique(starts_s // unit_s, return_inverse=True)
    hours_of_week = np.array([_hour_of_week(unit * unit_s, timezone) for unit in units.tolist()], dtype=np.int16)
    return hours_of_week[index].reshape(starts_s.shape)


@lru_cache(maxsize=1 << 16)
def _hour_of_week(start_s: int, timezone: str) -> int:
    local = datetime.fromtimestamp(start_s, UTC).astimezone(ZoneInfo(timezone))
    return local.weekday() * 24 + local.hour
