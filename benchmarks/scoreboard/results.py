"""The results of the scoreboard: cells, streams without faults, and peers."""

import math
from dataclasses import dataclass
from typing import Literal

from benchmarks.scoreboard.source_rows import SourceEvidence

MissKind = Literal["none", "still firing", "too late", "no page"]


@dataclass(frozen=True, slots=True)
class IncidentResult:
    """What one incident led to. Times are hours from its start."""

    hours: float | None
    """To the first page of the affected field; None if it did not page while the incident lasted."""
    guard_s: float | None
    """Seconds from this page to the degraded state of the guard; None without a page, or if it was degraded before."""
    miss: MissKind
    """Why there is no page: a page of the field still fired when the incident began, or the first one came within a day
    after its end."""
    traffic: float
    """Events in the first quarter of a day, relative to the mean."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault at one magnitude, traffic and data set."""

    data_set: str
    per_hour: float
    fault: str
    magnitude: float
    field: str
    results: tuple[IncidentResult, ...]
    wrong_pages: dict[str, int]
    """Pages for other fields that began in an incident and do not come without it, by rule and field."""
    predicted: tuple[float | None, float | None, float | None]
    """Hours at the 10, 50 and 90 % quantiles; None if the page may not come while the incident lasts."""
    phi: float
    """Overdispersion of the field in the long window."""
    independent: float
    """Independent events in the long window: mean events divided by `phi`."""
    is_large_enough: bool
    """Whether a page would be predicted with 90 % if the windows had a thousand times the events."""

    @property
    def hours(self) -> tuple[float | None, ...]:
        """Hours to the page of each incident."""
        return tuple(each.hours for each in self.results)

    @property
    def incidents(self) -> int:
        return len(self.results)

    @property
    def recall(self) -> float:
        """Share of the incidents that paged."""
        return sum(each is not None for each in self.hours) / self.incidents

    @property
    def is_detectable(self) -> bool:
        """Whether a page is predicted with 90 % while the incident lasts."""
        return self.predicted[2] is not None

    @property
    def within(self) -> int:
        """Number of pages within the predicted interval."""
        low, _, high = (math.inf if each is None else each for each in self.predicted)
        return sum(each is not None and low <= each <= high for each in self.hours)


@dataclass(frozen=True, slots=True)
class QuietPage:
    """A page without a planted fault."""

    rule: str
    field: str
    window: str
    day: float
    """When, in days from the start of the stream."""
    evidence: SourceEvidence | None
    """Of the source's own rows; None if events are drawn from one distribution, so that the page is false."""

    @property
    def is_false(self) -> bool:
        """Whether nothing shows that the data changed."""
        return self.evidence is None or not self.evidence.is_change


@dataclass(frozen=True, slots=True)
class QuietStream:
    """Pages of a stream without faults."""

    data_set: str
    per_hour: float
    days: int
    pages: tuple[QuietPage, ...]
    phi: float
    """Overdispersion of the field of faults in the long window."""


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
    peer: str
    version: str
    seconds: float
    """For all data sets, without the installation."""
    failure: str = ""
    """Why it has no or not all results; empty if it has."""
