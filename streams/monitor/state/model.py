"""What the monitor holds of one model: its series, how far they are sealed, and what waits to be written again."""

from __future__ import annotations

from dataclasses import dataclass, field

from barograph.contract import Contract, Window

from streams.monitor.state.series import Series

SeriesKey = tuple[str, str]
WindowKey = tuple[SeriesKey, Window, int]


@dataclass
class ModelState:
    """What is held of one model."""

    contract: Contract
    series: dict[SeriesKey, Series] = field(default_factory=dict)
    sealed_until_s: int | None = None
    loaded_from_s: int = 0
    """Panes that start at or after it are in memory, or do not exist."""
    set_down: set[int] = field(default_factory=set)
    """Starts of panes that were written and dropped before their time, because there were too many."""
    awaiting: dict[WindowKey, int] = field(default_factory=dict)
    """Windows that late records touched, with the offset of the first."""
    revised_s: dict[WindowKey, float] = field(default_factory=dict)
    dirty_days: dict[int, int | None] = field(default_factory=dict)
    """Starts of days whose roll-ups are to be written; with an offset those that late records touched after they had
    been written, which is that of the first."""
    revised_days_s: dict[int, float] = field(default_factory=dict)

    def pane_starts(self) -> set[int]:
        """Starts of the panes that wait to be sealed or are still needed, those that were set down included."""
        return self.set_down.union(*(series.panes for series in self.series.values()))
