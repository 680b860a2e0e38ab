"""The windows of a model: fixed and disjoint, each a union of score windows."""

from collections.abc import Iterable
from dataclasses import dataclass

from barograph.contract import Contract

DAY_S = 86400


def window_lengths(contract: Contract, score_window_s: int) -> tuple[int, ...]:
    """Return the window lengths in seconds that performance is measured over, ascending.

    These are the score window, the day, the week, and the contract's windows that are multiples of the score window;
    not windows of the last events.
    Windows start at multiples of their length since the Unix epoch.
    """
    lengths = {score_window_s, DAY_S, 7 * DAY_S, *(window.length_s for window in contract.windows if not window.last)}
    return tuple(sorted(each for each in lengths if each >= score_window_s and each % score_window_s == 0))


def window_start(second: int, length_s: int) -> int:
    return second - second % length_s


def window_starts(first_s: float, end_s: float, length_s: int) -> range:
    """Return the starts of the windows that end after `first_s` and start at `end_s` or earlier."""
    return range(window_start(int(first_s), length_s), window_start(int(end_s), length_s) + 1, length_s)


@dataclass(frozen=True, slots=True)
class EventClock:
    """The current time of one model, in event time."""

    now_s: float
    """On the live clock the wall-clock time, on the replay clock the newest event time read."""
    all_read: bool = False
    """Whether the replay has ended, so that the windows of the newest event have ended too."""

    def has_ended(self, start: int, length_s: int) -> bool:
        return start + length_s <= self.now_s or (self.all_read and start <= self.now_s)

    def split(self, starts: Iterable[int], length_s: int) -> tuple[set[int], set[int]]:
        """Split windows into those that have ended and those that have not."""
        windows = set(starts)
        ended = {start for start in windows if self.has_ended(start, length_s)}
        return ended, windows - ended

    def age_s(self, end: float) -> float:
        """Return the age of the youngest prediction of a window that ends at a time, at least 0."""
        return max(0.0, self.now_s - end)
