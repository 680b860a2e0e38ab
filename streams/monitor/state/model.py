"""State of one model: its series, how far they are sealed, and which verdicts and rollups are due again."""

import math
from dataclasses import dataclass, field

from barograph.contract import Contract, Window

from barograph_server.streams.monitor.state.series import Series

SeriesKey = tuple[str, str]
"""Version and baseline id."""
WindowKey = tuple[SeriesKey, Window, int]
"""Series, length and end."""
MAX_REVISION_TIMES = 10_000
"""So many times of revisions are remembered before outdated ones are dropped."""


class RevisionQueue:
    """The windows of one model that are to be judged again, each at most once per interval."""

    def __init__(self) -> None:
        self._pending: dict[WindowKey, int] = {}
        """With the offset of the first late record."""
        self._revised_s: dict[WindowKey, float] = {}

    def mark(self, key: WindowKey, offset: int) -> None:
        """Queue a window that the late record at `offset` changed."""
        self._pending.setdefault(key, offset)

    def first_offset(self) -> int | None:
        """The offset of the earliest record that a queued window waits for; None if no window is queued."""
        return min(self._pending.values(), default=None)

    def pop_due(
        self, now_s: float, interval_s: float, until_s: float = math.inf
    ) -> dict[tuple[SeriesKey, Window], list[int]]:
        """Remove the windows that are due, and return their ends, ascending.

        A window is due if it was not revised within the interval and ends by `until_s`.

        Args:
            now_s: seconds that never go back.
            interval_s: shortest time between two revisions of one window.
            until_s: later windows stay queued.
        """
        due: dict[tuple[SeriesKey, Window], list[int]] = {}
        for key in sorted(self._pending):
            series_key, window, end_s = key
            if end_s <= until_s and now_s - self._revised_s.get(key, -math.inf) >= interval_s:
                due.setdefault((series_key, window), []).append(end_s)
                self._revised_s[key] = now_s
                del self._pending[key]
        if len(self._revised_s) > MAX_REVISION_TIMES:
            self._revised_s = {key: at_s for key, at_s in self._revised_s.items() if now_s - at_s < interval_s}
        return due


@dataclass
class ModelState:
    contract: Contract
    series: dict[SeriesKey, Series] = field(default_factory=dict)
    sealed_until_s: int | None = None
    last_s: int | None = None
    """Start of the last pane with an event."""
    loaded_from_s: int = 0
    """Every existing pane that starts at or after this time is in memory or in `evicted`."""
    evicted: set[int] = field(default_factory=set)
    """Starts of panes that were written and evicted to stay within the budget, though windows still need them."""
    revisions: RevisionQueue = field(default_factory=RevisionQueue)
    """Sealed windows that late events changed."""
    dirty_days: dict[int, int | None] = field(default_factory=dict)
    """Starts of the days whose rollups are to be written. If late events changed a day after it was written, the value
    is the offset of the first such record; otherwise None."""
    rewritten_days_s: dict[int, float] = field(default_factory=dict)
    """When a day was last written again because of late events, by its start."""

    def pane_starts(self) -> set[int]:
        """Starts of all panes that are in memory or evicted."""
        return self.evicted.union(*(series.panes for series in self.series.values()))
