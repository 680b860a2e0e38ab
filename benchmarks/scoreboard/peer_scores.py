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
    """Hours from the start of each incident to the detection while it lasts: to the end of the first day that overlaps
    it and is called drifted, or to the event at which a detector of streams reports a change."""


@dataclass(frozen=True, slots=True)
class PeerQuiet:
    """Days of a stream without faults on which a peer calls a column drifted."""

    peer: str
    data_set: str
    days: int
    drifted_days: int
    """Days on which at least one column is called drifted."""


@dataclass(frozen=True, slots=True)
class PeerRun:
    """How a peer was run."""

    peer: str
    version: str
    seconds: float
    """For all data sets, without the installation."""
    failure: str = ""
    """Why it has no or not all results; empty if it has."""
