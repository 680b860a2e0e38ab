"""The results of peers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerCell:
    """What a peer detects of one fault at one magnitude in one data set."""

    peer: str
    data_set: str
    fault: str
    magnitude: float
    hours: tuple[float | None, ...]
    """Hours from the start of each incident to the end of the first day that overlaps it and is called drifted."""


@dataclass(frozen=True, slots=True)
class PeerQuiet:
    """Days and columns of a stream without faults that a peer calls drifted."""

    peer: str
    data_set: str
    days: int
    drifted_days: int
    """Days on which at least one column is called drifted."""
