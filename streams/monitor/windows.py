"""Which windows there are: where they end, which panes they hold, and by which steps they are summed."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from barograph.contract import SECONDS_PER_HOUR, Contract, Window

SECONDS_PER_DAY = 86_400
DESCRIPTIONS = 4
"""How often a window is described within its own length; verdicts are given at every hop."""


def ends_between(window: Window, after_s: int, until_s: int) -> range:
    """The ends of windows in (after, until]: multiples of the hop."""
    first = (after_s // window.hop_s + 1) * window.hop_s
    return range(first, until_s + 1, window.hop_s)


def ends_covering(window: Window, pane_start_s: int, pane_s: int, until_s: int) -> range:
    """The ends, up to a moment, of the windows that hold a pane."""
    end = pane_start_s + pane_s
    first = -(-end // window.hop_s) * window.hop_s
    return range(first, min(pane_start_s + window.length_s, until_s) + 1, window.hop_s)


def step_s(contract: Contract, window: Window) -> int:
    """What a window is summed from: whole hours where it consists of such and panes are shorter, else panes."""
    whole = window.length_s % SECONDS_PER_HOUR == 0 and window.hop_s % SECONDS_PER_HOUR == 0
    return SECONDS_PER_HOUR if whole and contract.pane_s < SECONDS_PER_HOUR else contract.pane_s


def uses_hours(contract: Contract) -> bool:
    """Whether any window of a contract is summed from hours."""
    return any(step_s(contract, window) > contract.pane_s for window in contract.windows)


def hour_s(contract: Contract) -> int:
    """The length of what categories and days are made of: an hour, or a pane where that is longer."""
    return max(SECONDS_PER_HOUR, contract.pane_s)


def has_days(contract: Contract) -> bool:
    """Whether panes are rolled up by the UTC day: they are shorter than one and divide it."""
    return contract.pane_s < SECONDS_PER_DAY and SECONDS_PER_DAY % contract.pane_s == 0


def starts_between(length_s: int, start_s: int, end_s: int) -> range:
    """The starts of the hours or days that overlap [start, end)."""
    return range(start_s // length_s * length_s, end_s, length_s)


def reach_s(contract: Contract, *, hours: bool) -> int:
    """How far back from the sealed moment windows reach into hours or panes."""
    lengths = [w.length_s for w in contract.windows if (step_s(contract, w) > contract.pane_s) is hours]
    # Panes make hours: those of the hour that is still open are kept in any case.
    return max([*lengths, 0 if hours else SECONDS_PER_HOUR])


def last_end_s(contract: Contract, last_s: int) -> int:
    """Up to where history that ends at a moment is judged: every length of window has its next end by then."""
    return max((-(-last_s // window.hop_s) * window.hop_s for window in contract.windows), default=last_s)


def all_ends(contract: Contract, after_s: int, until_s: int) -> Iterator[tuple[Window, range]]:
    """Per window of a contract its ends in (after, until]."""
    for window in contract.windows:
        ends = ends_between(window, after_s, until_s)
        if ends:
            yield window, ends


def described_every_s(window: Window) -> int:
    """How far apart the windows are that are described: a quarter of their length, rounded up to whole hops."""
    return -(-window.length_s // (DESCRIPTIONS * window.hop_s)) * window.hop_s


def stretch_s(window: Window) -> int:
    """The longest stretch of time that every described window of one length is made of."""
    return gcd(window.length_s, described_every_s(window))


def stretches_s(contract: Contract) -> dict[int, int]:
    """The stretches whose sketches are kept merged, each with how far back from the sealed moment it is needed."""
    reach: dict[int, int] = {}
    for window in contract.windows:
        reach[stretch_s(window)] = max(reach.get(stretch_s(window), 0), window.length_s)
    if uses_hours(contract):
        # A late event has a stretch made again: of the hours that did not change, if they are held.
        reach[SECONDS_PER_HOUR] = max(reach.get(SECONDS_PER_HOUR, 0), reach_s(contract, hours=True))
    return {length: back for length, back in sorted(reach.items()) if length > contract.pane_s}
