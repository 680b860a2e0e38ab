"""State of one model: its series, how far they are sealed, and which verdicts and rollups are due again."""

from __future__ import annotations

from dataclasses import dataclass, field

from barograph.contract import Contract

from barograph_server.streams.monitor.state.revisions import RevisionQueue, SeriesKey
from barograph_server.streams.monitor.state.series import Series


@dataclass
class ModelState:
    """The state of one model."""

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
