"""The windows of a model: fixed and disjoint, each a union of score windows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from barograph.contract import Contract

DAY_S = 86400


def lengths(contract: Contract, window_s: int) -> tuple[int, ...]:
    """The lengths in seconds that performance is measured over, ascending.

    The score window, the day, and the contract's windows that are whole numbers of score windows. They begin at
    multiples of their length since the Unix epoch.
    """
    wanted = {window_s, DAY_S, *(window.length_s for window in contract.windows)}
    return tuple(sorted(each for each in wanted if each >= window_s and each % window_s == 0))


def start_of(second: int, length_s: int) -> int:
    """The start of the window that holds a moment."""
    return second - second % length_s


def starts_between(first_s: float, end_s: float, length_s: int) -> range:
    """The starts of the windows that end after `first_s` and begin up to `end_s`."""
    return range(start_of(int(first_s), length_s), start_of(int(end_s), length_s) + 1, length_s)


@dataclass(frozen=True, slots=True)
class Now:
    """What time it is for one model, in event time."""

    second: float
    """On the live clock the wall's, on the replay clock the newest event time seen."""
    all_read: bool = False
    """On the replay clock: nothing more is coming, so windows in which the newest event lies have ended too."""

    def ended(self, start: int, length_s: int) -> bool:
        """Whether a window has ended."""
        return start + length_s <= self.second or (self.all_read and start <= self.second)

    def split(self, starts: Iterable[int], length_s: int) -> tuple[set[int], set[int]]:
        """Part windows into those that have ended and those that have not."""
        every = set(starts)
        ended = {start for start in every if self.ended(start, length_s)}
        return ended, every - ended

    def age_s(self, end: float) -> float:
        """How old the youngest prediction of a window is that ended at a moment, at least 0."""
        return max(0.0, self.second - end)
