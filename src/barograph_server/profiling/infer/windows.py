"""Proposes panes, windows and the minimum of slice events from the traffic in the training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from barograph.contract import SECONDS_PER_DAY, SECONDS_PER_HOUR, Contract, Window, format_duration
from barograph.contract.check import MAX_SEARCHED_PANES
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.drift.power import n_star
from barograph_server.warehouse.signals.verdicts import ALONE_EVENTS

_CONTRACT = Contract(model="default")
LAST = ALONE_EVENTS
"""Events of a window of the last events: with fewer it could not page alone for a large shift."""
PROPOSALS: tuple[tuple[Window, ...], ...] = (
    _CONTRACT.windows,
    (Window(SECONDS_PER_HOUR, 300), Window(SECONDS_PER_DAY, SECONDS_PER_HOUR)),
    (Window(6 * SECONDS_PER_HOUR, 1800), Window(SECONDS_PER_DAY, SECONDS_PER_HOUR)),
    (Window(SECONDS_PER_DAY, SECONDS_PER_HOUR), Window(7 * SECONDS_PER_DAY, 12 * SECONDS_PER_HOUR)),
    (
        Window(7 * SECONDS_PER_DAY, 12 * SECONDS_PER_HOUR),
        Window(14 * SECONDS_PER_DAY, 12 * SECONDS_PER_HOUR, last=LAST),
        Window(30 * SECONDS_PER_DAY, SECONDS_PER_DAY),
    ),
    (
        Window(30 * SECONDS_PER_DAY, SECONDS_PER_DAY),
        Window(60 * SECONDS_PER_DAY, SECONDS_PER_DAY, last=LAST),
        Window(90 * SECONDS_PER_DAY, SECONDS_PER_DAY),
    ),
)
"""Windows for less and less traffic; the first of each is the one that must have enough events.

The longest of each has at most 1,440 panes, or 2,160 if a pane must not exceed an hour."""

QUIET_SHARE = 0.1
"""Share of the shortest windows that may have fewer events than a level needs."""
TYPICAL_DF = 10
"""Degrees of freedom of a numeric field: ten bins and nulls."""
ROWS_PER_EVENT = 10
"""Minimum ratio of training rows to events of the longest window; below it the noise of training matters."""
LEAST_SLICE_N = 100
"""Lower limit of the proposed `slice_min_n`: with fewer events only extreme shifts have a level."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Panes and windows for a contract."""

    pane_s: int
    windows: tuple[Window, ...]
    slice_min_n: int = _CONTRACT.slice_min_n
    reason: str = ""
    """Why these windows; empty if they do not depend on the traffic."""
    warning: str = ""
    """What is wrong with them, if something is."""


def events_for_a_level(rows: int) -> int:
    """Return the number of independent events from which a typical field of a window has a level.

    Both sides count, the events n of the window and the training rows m: n_h = nm/(n + m). With little training data
    the number is twice that of ample data, because more events hardly help then.
    """
    least = float(n_star(TYPICAL_DF))
    return int(np.ceil(least * rows / (rows - least) if rows > 2 * least else 2 * least))


def pane_for(windows: Sequence[Window], *, hourly: bool) -> int:
    """Return the longest pane, at most a day, of which all lengths and hops are multiples.

    Args:
        windows: of the contract, with lengths that are multiples of their hops.
        hourly: whether panes must not exceed an hour, because windows are compared by the hours of the week.
    """
    pane_s = gcd(SECONDS_PER_HOUR if hourly else SECONDS_PER_DAY, *(window.hop_s for window in windows))
    return pane_s if pane_s % SECONDS_PER_HOUR == 0 else gcd(pane_s, SECONDS_PER_HOUR)


def propose(
    times: OrderedTimes, rows: int, slice_shares: Sequence[float], *, pane_s: int | None = None, hourly: bool = False
) -> Proposal | None:
    """Propose the shortest windows that have enough events for a level, also when traffic is low.

    The first of the proposals whose shortest window has enough events in nine of ten windows of the training data is
    chosen. Windows without events do not count: they get no level in any case. Its longer windows are left out if
    training is too short for them.

    Args:
        times: event times of the training rows.
        rows: training rows, also those without an event time.
        slice_shares: share of the training rows of each slice.
        pane_s: length of a pane if it is given; otherwise it follows from the hops.
        hourly: whether panes must not exceed an hour.

    Returns:
        None if no proposal can consist of such panes.
    """
    fitted = [(windows[0].length_s, _fit_to_pane(windows, pane_s)) for windows in PROPOSALS]
    candidates = [fit for short_s, fit in fitted if fit and fit[0].length_s == short_s]
    if not candidates:
        return None
    needed = events_for_a_level(rows)
    low = {windows[0]: _low_events(times, windows[0]) for windows in candidates}
    enough = [windows for windows in candidates if low[windows[0]] >= needed]
    chosen = enough[0] if enough else candidates[-1]
    short, *longer = chosen
    covered = [window for window in longer if _is_covered(times, rows, window, is_last_resort=not enough)]
    windows = (short, *covered)
    pane_s = pane_s or pane_for(windows, hourly=hourly)
    return Proposal(
        pane_s=pane_s,
        windows=windows,
        slice_min_n=_slice_min_n(max(_low_events(times, window) for window in windows), slice_shares),
        reason=_reason(times, pane_s, windows, low, needed),
        warning="" if enough else _warning(times, windows, needed),
    )


def _low_events(times: OrderedTimes, window: Window) -> float:
    """Return the events that nine in ten windows have at least."""
    return window.last or times.low_events(window.length_s, QUIET_SHARE)


def _is_covered(times: OrderedTimes, rows: int, window: Window, *, is_last_resort: bool) -> bool:
    """Whether training is long enough for a window, and a window of the last events has them within its span."""
    if window.last:
        events = times.low_events(window.length_s, QUIET_SHARE)
        return events >= window.last and rows >= ROWS_PER_EVENT * window.last
    return is_last_resort or rows >= ROWS_PER_EVENT * times.mean_events(window.length_s)


def _fit_to_pane(windows: Sequence[Window], pane_s: int | None) -> tuple[Window, ...]:
    """Return those windows that can consist of panes of a length, with hops rounded up to whole panes.

    A window of the last events whose span has more panes than a contract allows is left out.
    """
    if pane_s is None:
        return tuple(windows)
    rounded = [Window(w.length_s, -(-w.hop_s // pane_s) * pane_s, w.last) for w in windows]
    longest_s = MAX_SEARCHED_PANES * pane_s
    return tuple(w for w in rounded if w.length_s % w.hop_s == 0 and not (w.last and w.length_s > longest_s))


def _slice_min_n(events: float, shares: Sequence[float]) -> int:
    """Return a minimum that the typical slice reaches in the longest window, at most the default."""
    if not shares:
        return _CONTRACT.slice_min_n
    typical = int(events * float(np.median(shares)))
    rounded = typical // 50 * 50
    return min(max(rounded, LEAST_SLICE_N), _CONTRACT.slice_min_n)


def _reason(times: OrderedTimes, pane_s: int, windows: Sequence[Window], low: dict[Window, float], needed: int) -> str:
    short = windows[0]
    names = ", ".join(f"{window.name}:{format_duration(window.hop_s)}" for window in windows)
    if len(times.bounds(short.length_s)) > 1:
        measured = f"90% of the {short.name} windows with events have at least {low[short]:,.0f}"
    else:
        measured = f"a {short.name} window has about {low[short]:,.0f} events at the mean rate"
    shorter = [window for window in low if window.length_s < short.length_s]
    other = f" ({low[shorter[-1]]:,.0f} in {shorter[-1].name})" if shorter else ""
    return (
        f"Panes of {format_duration(pane_s)} (the unit of counts), windows (length:hop) {names}: in training "
        f"{measured}{other}; a level needs {needed:,}. If production has more traffic, set --window."
    )


def _warning(times: OrderedTimes, windows: Sequence[Window], needed: int) -> str:
    enough = [window.name for window in windows if _low_events(times, window) >= needed]
    if enough:
        few = " and ".join(window.name for window in windows if window.name not in enough)
        return (
            f"Windows of {few} often have fewer than the {needed:,} events that a level needs, and are then "
            f"insufficient; those of {' and '.join(enough)} have enough."
        )
    longest = max(windows)
    events = times.mean_events(longest.length_s)
    return (
        f"Traffic is sparse: a {longest.name} window has about {events:,.0f} events, and a level needs {needed:,}. "
        "Only large changes will have a level; the others are insufficient."
    )


class OrderedTimes:
    """Event times of training rows, ascending.

    Attributes:
        at_ms: Unix milliseconds, shape (n,); rows without an event time are left out.
        order: The row of each time, shape (n,); None if the rows are in this order themselves.

    Args:
        at_ms: Event times of all rows, Unix milliseconds, shape (rows,).
        null: Mask of rows without an event time, shape (rows,); not all of them.
    """

    def __init__(self, at_ms: IntArray, null: NDArray[np.bool_]) -> None:
        self.order: IntArray | None = None
        if null.any() or (at_ms[1:] < at_ms[:-1]).any():
            timed = np.flatnonzero(~null)
            self.order = timed[np.argsort(at_ms[timed], kind="stable")]
            at_ms = at_ms[self.order]
        self.at_ms = at_ms
        self.first_ms, self.last_ms = int(at_ms[0]), int(at_ms[-1])
        self._bounds: dict[int, IntArray] = {}

    def bounds(self, length_s: int) -> IntArray:
        """Return the first row of each window and the end of the last one, shape (windows + 1,).

        Windows are disjoint and aligned to multiples of the length since 1970. Those that have rows and lie wholly
        inside the training period count.
        """
        if length_s not in self._bounds:
            self._bounds[length_s] = _bounds(self.at_ms, length_s * 1000)
        return self._bounds[length_s]

    def mean_events(self, length_s: int) -> float:
        """Return the mean events of windows of a length; if none fits, extrapolate the rate of the training period."""
        bounds = self.bounds(length_s)
        if len(bounds) > 1:
            return float(bounds[-1] - bounds[0]) / (len(bounds) - 1)
        return length_s * self.mean_rate()

    def mean_rate(self) -> float:
        """Return the mean events per second of the training period."""
        return len(self.at_ms) * 1000 / max(1, self.last_ms - self.first_ms)

    def low_events(self, length_s: int, share: float) -> float:
        """Return the events that all but a share of the windows of a length have; if none fits, the mean."""
        sizes = np.diff(self.bounds(length_s))
        return float(np.quantile(sizes, share, method="lower")) if sizes.size else self.mean_events(length_s)


def _bounds(at_ms: IntArray, length_ms: int) -> IntArray:
    first, last = int(at_ms[0]), int(at_ms[-1])
    inside = np.searchsorted(at_ms, (-(-first // length_ms) * length_ms, last // length_ms * length_ms))
    window = at_ms[inside[0] : inside[1]] // length_ms
    if window.size == 0:
        return np.zeros(1, dtype=np.int64)
    begins = np.flatnonzero(window[1:] != window[:-1]) + 1
    bounds: IntArray = np.concatenate(([0], begins, [window.size])) + inside[0]
    return bounds
