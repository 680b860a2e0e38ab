"""Who is compared with whom: versions in the order in which they came, arms with the control."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from barograph.contract import Contract, Window
from numpy.typing import NDArray

from sketches.baseline.layout import Layout
from streams.monitor.state.merged_ranges import ARM
from streams.monitor.state.series import Series
from streams.monitor.windows import described_every_s
from streams.registry.registry import Registry

Kind = Literal["version", "arm"]
MOST_ARMS = 8
"""More arms are not compared."""


@dataclass(frozen=True, slots=True)
class Member:
    """One slice of one series."""

    series: Series
    slice_index: int

    @property
    def layout(self) -> Layout:
        return self.series.layout


@dataclass(frozen=True, slots=True)
class Side:
    """What is summed and compared as one: a version with all of its baselines, or an arm with all of its versions."""

    name: str
    members: tuple[Member, ...]
    """The oldest first."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sides and those of their members that had events, all by their numbers, and the windows in which they had."""

    left: int
    right: int
    left_members: tuple[int, ...]
    right_members: tuple[int, ...]
    windows: NDArray[np.int64]
    """Numbers of windows."""


def compared_ends(window: Window, ends_s: Iterable[int]) -> list[int]:
    """Those ends at which outputs are compared: those of the windows that are described."""
    every_s = described_every_s(window)
    return [end for end in ends_s if end % every_s == 0]


def in_order(registry: Registry, model: str, every: Iterable[Series]) -> list[Series]:
    """Sort series by version, the oldest first, and within a version by when the baseline takes effect.

    Versions with baselines come in the order in which their first one was accepted, then those without one in that of
    their first event.
    """
    registered = registry.baselines.get(model, {})

    def rank(series: Series) -> tuple[bool, float, str, float, str]:
        history = registered.get(series.version, ())
        came: float = np.inf if series.first_s is None else series.first_s
        if history:
            came = min(entry.accepted_at_ms for entry in history)
        since = min((e.effective_from_s for e in history if e.baseline_id == series.baseline_id), default=np.inf)
        return not history, came, series.version, since, series.baseline_id

    return sorted(every, key=rank)


def version_sides(every: Sequence[Series]) -> list[Side]:
    """Sides of versions, the oldest first, from series in order."""
    by_version: dict[str, list[Member]] = {}
    for series in every:
        by_version.setdefault(series.version, []).append(Member(series, 0))
    return [Side(version, tuple(members)) for version, members in by_version.items()]


def arm_sides(contract: Contract, every: Sequence[Series]) -> list[Side]:
    """Sides of arms, the control first, from series in order; none where the contract has no slice by arm."""
    names = list(contract.arms.shares) if contract.arms else []
    for cut in contract.slices:
        if not names and cut.source == ARM:
            names = list(cut.values)
    sides = []
    for name in names[:MOST_ARMS]:
        found = [(series, _arm_index(series.layout, name)) for series in every]
        sides.append(Side(name, tuple(Member(series, index) for series, index in found if index is not None)))
    return sides


def version_pairs(sides: Sequence[Side], events: NDArray[np.int64]) -> list[Pair]:
    """In each window the last two versions with events.

    Args:
        sides: from `version_sides`.
        events: shape (W, members of all sides end to end).
    """
    return _pairs(sides, events, lambda some: [(some[-2], some[-1])] if len(some) > 1 else [])


def arm_pairs(sides: Sequence[Side], events: NDArray[np.int64]) -> list[Pair]:
    """In each window every arm with events against the control, if that has some; arguments as `version_pairs`."""
    return _pairs(sides, events, lambda some: [(0, other) for other in some[1:]] if some[:1] == [0] else [])


def _pairs(
    sides: Sequence[Side], events: NDArray[np.int64], choose: Callable[[list[int]], list[tuple[int, int]]]
) -> list[Pair]:
    firsts = np.cumsum([0, *(len(side.members) for side in sides)])
    found: dict[tuple[int, int, tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for w, row in enumerate(events > 0):
        active = [np.flatnonzero(row[firsts[i] : firsts[i + 1]]) for i in range(len(sides))]
        for left, right in choose([i for i, members in enumerate(active) if len(members)]):
            key = left, right, tuple(active[left].tolist()), tuple(active[right].tolist())
            found.setdefault(key, []).append(w)
    return [
        Pair(left, right, of_left, of_right, np.array(windows, dtype=np.int64))
        for (left, right, of_left, of_right), windows in found.items()
    ]


def _arm_index(layout: Layout, arm: str) -> int | None:
    for index in layout.slices_by(ARM):
        if layout.slices[index].partition("=")[2] == arm:
            return index
    return None
