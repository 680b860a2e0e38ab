"""Window arithmetic: where windows end, which panes they contain, and by which steps they are summed."""

from collections.abc import Iterator, Sequence
from math import gcd

import numpy as np
from barograph.contract import SECONDS_PER_HOUR, Contract, Window
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import IntArray

BoolArray = NDArray[np.bool_]

SECONDS_PER_DAY = 86_400
DESCRIPTIONS_PER_LENGTH = 4
"""How often a window is described within its own length; verdicts are given at every hop."""
TAIL = 50
"""A window of an ended history counts as whole if at most this part of its length (1/50) lies after the last event: a
field that is uniform over the window then has a PSI below 0.02 in bins of a 24th of the window."""


def fixed_starts(window: Window, ends_s: Sequence[int]) -> IntArray:
    """Return the starts of windows that all have the same length, shape (len(ends_s),)."""
    return np.array(ends_s, dtype=np.int64) - window.length_s


def starts_of_last(window: Window, ends_s: Sequence[int], pane_s: int, events: IntArray) -> tuple[IntArray, BoolArray]:
    """Return the starts of windows of the last events: the latest from which on they have enough events.

    Args:
        ends_s: ends of the windows, ascending.
        events: events of the model that were not late in each pane, from the longest span before the first end to the
            last end.

    Returns:
        Starts, shape (len(ends_s),), and which windows have enough events within the longest span. The others start
        with that span.
    """
    total = np.concatenate(([0], np.cumsum(events)))
    end = (np.array(ends_s, dtype=np.int64) - ends_s[0] + window.length_s) // pane_s
    earliest = end - window.length_s // pane_s
    start = np.searchsorted(total, total[end] - window.last, side="right") - 1
    enough = start >= earliest
    return ends_s[0] - window.length_s + np.maximum(start, earliest) * pane_s, enough


def ends_between(window: Window, after_s: int, until_s: int) -> range:
    """Return the ends of windows in (after, until]: multiples of the hop."""
    first = (after_s // window.hop_s + 1) * window.hop_s
    return range(first, until_s + 1, window.hop_s)


def ends_covering(window: Window, pane_start_s: int, pane_s: int, until_s: int) -> range:
    """Return the ends, up to `until_s`, of the windows that contain a pane."""
    end = pane_start_s + pane_s
    first = -(-end // window.hop_s) * window.hop_s
    return range(first, min(pane_start_s + window.length_s, until_s) + 1, window.hop_s)


def step_s(contract: Contract, window: Window) -> int:
    """Return the step by which a window is summed: an hour if it consists of hours longer than a pane, else a pane."""
    if window.last:
        return contract.pane_s
    whole = window.length_s % SECONDS_PER_HOUR == 0 and window.hop_s % SECONDS_PER_HOUR == 0
    return SECONDS_PER_HOUR if whole and contract.pane_s < SECONDS_PER_HOUR else contract.pane_s


def uses_hours(contract: Contract) -> bool:
    """Whether any window of a contract is summed from hours."""
    return any(step_s(contract, window) > contract.pane_s for window in contract.windows)


def hour_s(contract: Contract) -> int:
    """Return the length of the shortest rollup: an hour, or a pane if that is longer."""
    return max(SECONDS_PER_HOUR, contract.pane_s)


def has_days(contract: Contract) -> bool:
    """Whether panes are rolled up by UTC day: they are shorter than a day and divide it."""
    return contract.pane_s < SECONDS_PER_DAY and SECONDS_PER_DAY % contract.pane_s == 0


def starts_between(length_s: int, start_s: int, end_s: int) -> range:
    """Return the starts of the hours or days that overlap [start, end)."""
    return range(start_s // length_s * length_s, end_s, length_s)


def reach_s(contract: Contract, *, hours: bool) -> int:
    """Return how far before the sealed time windows reach into hours or panes.

    Panes are needed for an hour in any case, because the rollup of the open hour is merged from them.
    """
    lengths = [w.length_s for w in contract.windows if (step_s(contract, w) > contract.pane_s) is hours]
    return max([*lengths, 0 if hours else SECONDS_PER_HOUR])


def last_end_s(contract: Contract, last_s: int) -> int:
    """Return the time until which a history that ends at `last_s` is judged: the next end of every window length."""
    return max((-(-last_s // window.hop_s) * window.hop_s for window in contract.windows), default=last_s)


def judged_until_s(window: Window, first_s: int, last_s: int) -> int:
    """Return the last window end that is judged in a history that has ended.

    It is the last one by `last_s`, so that the end of a model's data is not taken for a change: the hours that a longer
    window would lack are missing from its distribution. `TAIL` allows for the time between two events. A history in
    which no window ends is judged once, at the first end after it, as is a window of the last events.

    Args:
        last_s: end of the model's last pane with an event.
    """
    until_s = (last_s + window.length_s // TAIL) // window.hop_s * window.hop_s
    return until_s if until_s > first_s and not window.last else -(-last_s // window.hop_s) * window.hop_s


def all_ends(contract: Contract, after_s: int, until_s: int) -> Iterator[tuple[Window, range]]:
    """Yield each window length of a contract with its ends in (after, until], if there are any."""
    for window in contract.windows:
        ends = ends_between(window, after_s, until_s)
        if ends:
            yield window, ends


def split_runs(ends_s: list[int], window: Window) -> list[list[int]]:
    """Split ascending ends at gaps, across which summing windows together would be wasteful."""
    runs: list[list[int]] = []
    for end_s in ends_s:
        if runs and end_s - runs[-1][-1] <= max(window.length_s, window.hop_s):
            runs[-1].append(end_s)
        else:
            runs.append([end_s])
    return runs


def described_every_s(window: Window) -> int:
    """Return the time between two described windows: a quarter of their length, rounded up to whole hops.

    Windows of the last events are described at every hop: their typical length is not known.
    """
    if window.last:
        return window.hop_s
    return -(-window.length_s // (DESCRIPTIONS_PER_LENGTH * window.hop_s)) * window.hop_s


def merged_range_s(window: Window) -> int:
    """Return the length of the longest range that every described window of one length is a union of."""
    return gcd(window.length_s, described_every_s(window))


def merged_range_lengths(contract: Contract) -> dict[int, int]:
    """Return the lengths of the ranges that are stored merged; each with how far before the sealed time it is needed.

    Hours are among them if windows are summed from hours: a late event then rebuilds a longer range from the hours
    that did not change.
    """
    reach: dict[int, int] = {}
    for window in contract.windows:
        if window.last:
            continue
        reach[merged_range_s(window)] = max(reach.get(merged_range_s(window), 0), window.length_s)
    if uses_hours(contract):
        reach[SECONDS_PER_HOUR] = max(reach.get(SECONDS_PER_HOUR, 0), reach_s(contract, hours=True))
    return {length: back for length, back in sorted(reach.items()) if length > contract.pane_s}
