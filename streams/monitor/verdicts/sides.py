"""Which sides are compared: consecutive versions, and each arm with the control."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from barograph.contract import Contract, Window
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import Layout
from barograph_server.streams.monitor.state.merged_ranges import ARM
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.windows import described_every_s
from barograph_server.streams.registry.registry import Registry

SideKind = Literal["version", "arm"]
MAX_ARMS = 8
"""Arms that are compared; further ones are not."""


@dataclass(frozen=True, slots=True)
class SeriesSlice:
    series: Series
    slice_index: int

    @property
    def layout(self) -> Layout:
        return self.series.layout


@dataclass(frozen=True, slots=True)
class ComparedSide:
    """A version with all of its baselines, or an arm with all of its versions: summed and compared as one."""

    name: str
    members: tuple[SeriesSlice, ...]
    """The oldest first."""


@dataclass(frozen=True, slots=True)
class ComparedPair:
    """Two sides, and the windows in which the same members of them had events. All values are indices."""

    left: int
    right: int
    left_members: tuple[int, ...]
    right_members: tuple[int, ...]
    windows: NDArray[np.int64]


def compared_ends(window: Window, ends_s: Iterable[int]) -> list[int]:
    """Return the ends of the windows that are described, and whose outputs are compared."""
    every_s = described_every_s(window)
    return [end for end in ends_s if end % every_s == 0]


def sort_series(registry: Registry, model: str, series: Iterable[Series]) -> list[Series]:
    """Sort series by version, the oldest first, and within a version by when the baseline takes effect.

    Versions with baselines come first, ordered by when the first one was accepted; then those without, ordered by
    their first event.

    Args:
        series: in any order.
    """
    registered = registry.baselines.get(model, {})

    def rank(entry: Series) -> tuple[bool, float, str, float, str]:
        history = registered.get(entry.version, ())
        began: float = np.inf if entry.first_s is None else entry.first_s
        if history:
            began = min(baseline.accepted_at_ms for baseline in history)
        effective_s = (b.effective_from_s for b in history if b.baseline_id == entry.baseline_id)
        return not history, began, entry.version, min(effective_s, default=np.inf), entry.baseline_id

    return sorted(series, key=rank)


def version_sides(series: Sequence[Series]) -> list[ComparedSide]:
    """Return a side per version, the oldest first, from sorted series."""
    by_version: dict[str, list[SeriesSlice]] = {}
    for entry in series:
        by_version.setdefault(entry.version, []).append(SeriesSlice(entry, 0))
    return [ComparedSide(version, tuple(members)) for version, members in by_version.items()]


def arm_sides(contract: Contract, series: Sequence[Series]) -> list[ComparedSide]:
    """Return a side per arm of the sorted series, the control first; none if the contract has no slice by arm."""
    names = list(contract.arms.names) if contract.arms else []
    for dimension in contract.slices:
        if not names and dimension.source == ARM:
            names = list(dimension.values)
    sides = []
    for name in names[:MAX_ARMS]:
        indices = [(entry, _arm_index(entry.layout, name)) for entry in series]
        sides.append(ComparedSide(name, tuple(SeriesSlice(entry, i) for entry, i in indices if i is not None)))
    return sides


def version_pairs(sides: Sequence[ComparedSide], events: NDArray[np.int64]) -> list[ComparedPair]:
    """Pair, in each window, the last two versions with events.

    Args:
        events: shape (W, members of all sides, concatenated).
    """
    return _pairs(sides, events, lambda active: [(active[-2], active[-1])] if len(active) > 1 else [])


def arm_pairs(sides: Sequence[ComparedSide], events: NDArray[np.int64]) -> list[ComparedPair]:
    """Pair, in each window, the control with every arm that has events, if the control has any.

    Args:
        events: shape (W, members of all sides, concatenated).
    """
    return _pairs(sides, events, lambda active: [(0, other) for other in active[1:]] if active[:1] == [0] else [])


def _pairs(
    sides: Sequence[ComparedSide], events: NDArray[np.int64], choose: Callable[[list[int]], list[tuple[int, int]]]
) -> list[ComparedPair]:
    firsts = np.cumsum([0, *(len(side.members) for side in sides)])
    windows: dict[tuple[int, int, tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for w, row in enumerate(events > 0):
        active = [np.flatnonzero(row[firsts[i] : firsts[i + 1]]) for i in range(len(sides))]
        for left, right in choose([i for i, members in enumerate(active) if len(members)]):
            key = left, right, tuple(active[left].tolist()), tuple(active[right].tolist())
            windows.setdefault(key, []).append(w)
    return [ComparedPair(*key, np.array(indices, dtype=np.int64)) for key, indices in windows.items()]


def _arm_index(layout: Layout, arm: str) -> int | None:
    for index in layout.slices_by(ARM):
        if layout.slices[index].partition("=")[2] == arm:
            return index
    return None
