"""Which windows there are: where they end, which panes they hold, and by which steps they are summed."""

from __future__ import annotations

from collections.abc import Iterator

from barograph.contract import SECONDS_PER_HOUR, Contract, Window


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
