"""What the report about one week of one model states, independent of how it is written."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from barograph_server.alerts.rule import Severity
from barograph_server.errors import CommandError
from barograph_server.warehouse.governance.changes import Change

Answer = Literal["healthy", "unhealthy", "uncertain"]


@dataclass(frozen=True, slots=True)
class ReportedWeek:
    """A week from Monday to Sunday in a time zone."""

    name: str
    """ISO 8601: `2026-W47`."""
    start: datetime
    """UTC, inclusive."""
    end: datetime
    """UTC, exclusive."""
    zone: str


@dataclass(frozen=True, slots=True)
class DayVolume:
    day: str
    predictions: int
    errors: int
    timed: int
    slow: int
    late: int
    hours: float
    """Counted hours, those without traffic included."""
    is_sealed: bool


@dataclass(frozen=True, slots=True)
class ServedShare:
    """Predictions of one version in a slice: all, or `arm=NAME`."""

    version: str
    slice: str
    predictions: int
    errors: int


@dataclass(frozen=True, slots=True)
class FieldWeek:
    """The verdicts on one field of a version, of windows of one length that ended in the week."""

    field: str
    what: str
    """psi, or the kind of a rate: null, invalid, below, above, unseen or error."""
    version: str
    window: str
    windows: int
    insufficient: int
    reason: str
    """A reason of the insufficient verdicts; empty without them."""
    completeness: float
    """The lowest of the windows."""
    level: str
    """The worst level; insufficient if no window has another."""
    value: float
    """PSI, or rate minus the rate in training, in the worst window; NaN without a sufficient verdict."""
    low: float
    high: float
    rate: float
    """NaN for psi, like `training_rate`."""
    training_rate: float
    worst_at: datetime
    """End of the worst window."""
    hours_major: float
    """Hours in which the newest verdict was major; NaN if the contract no longer has the window."""
    major_since: datetime | None
    """At least since then no verdict was below major; None if the field is not major at the end of the week."""


@dataclass(frozen=True, slots=True)
class MajorSlice:
    slice: str
    verdicts: int
    measures: list[str]
    """Fields, rates and metrics."""


@dataclass(frozen=True, slots=True)
class MetricWindow:
    metric: str
    version: str
    window: str
    window_end: datetime
    value: float
    low: float
    high: float
    level: str
    reason: str
    n: int
    coverage: float
    maturity: float
    mature: bool
    promise: float
    """NaN without an objective in the contract."""
    reference: float


@dataclass(frozen=True, slots=True)
class WeeklyDrill:
    at: datetime
    fault: str
    field: str
    mode: str
    passed: bool
    missed: str
    """What was observed instead of what was expected; empty if it passed."""


@dataclass(frozen=True, slots=True)
class WeeklyIncident:
    """An incident of the alert rules that was open in the week."""

    title: str
    severity: Severity
    opened_at: datetime
    is_older: bool
    """Whether it may have opened before `opened_at`, where the replay of the rules begins."""
    closed_at: datetime | None
    """None while it fires."""
    actions: tuple[Change, ...]
    """What people changed in the model during the incident and in the 24 hours after it."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Events that no figure includes."""

    in_kafka: int
    """Of all models: lost offsets do not name one."""
    before_kafka: int | None
    """None if the week is too old to know it."""
    dead_lettered: int
    """Those of an unknown model included."""


@dataclass(frozen=True, slots=True)
class WeekFacts:
    days: tuple[DayVolume, ...]
    served: tuple[ServedShare, ...]
    latency: tuple[float, ...]
    """Highest p50, p95 and p99 of the windows, in milliseconds; empty without."""
    verdicts: tuple[FieldWeek, ...]
    major_slices: tuple[MajorSlice, ...]
    metrics: tuple[MetricWindow, ...]
    labelled: tuple[int, int]
    """Predictions that the scorer has read, and those with a label."""
    losses: Losses
    drills: tuple[WeeklyDrill, ...]
    changes: tuple[Change, ...]
    incidents: tuple[WeeklyIncident, ...] | None
    """None if they are unknown."""
    incidents_problem: str = ""

    def incidents_of(self, severity: Severity) -> int:
        """Count the incidents of a severity; 0 if they are unknown."""
        return sum(each.severity == severity for each in self.incidents or ())

    def total(self, name: Literal["predictions", "errors", "timed", "slow", "late"]) -> int:
        return sum(getattr(day, name) for day in self.days)

    @property
    def hours(self) -> float:
        return sum(day.hours for day in self.days)

    @property
    def major_fields(self) -> list[str]:
        """Fields with a major verdict, in order of name."""
        return sorted({verdict.field for verdict in self.verdicts if verdict.level == "major"})


@dataclass(frozen=True, slots=True)
class WeeklyReport:
    """One week of one model, and the week before."""

    model: str
    team: str
    owners: tuple[str, ...]
    contract_id: str
    window: str
    """The longest windows of at most a week, in which insufficient verdicts limit the answer."""
    inputs: tuple[str, ...]
    """Fields that the model receives; all others are outputs."""
    has_label: bool
    week: ReportedWeek
    facts: WeekFacts
    before: WeekFacts
    was_replayed: bool
    answer: Answer
    sentence: str
    """Whether the week was healthy, in one sentence."""
    limits: tuple[str, ...]
    """What limits the answer."""
    queries: dict[str, str] = field(default_factory=dict)
    """Name of a part → the SQL that gives its figures."""
    debts: tuple[str, ...] = ()
    """What nothing uses any more, or whose origin is unclear, a line each."""


_WEEK = re.compile(r"(\d{4})-W(\d{2})")


def parse_week(text: str | None, zone: str, now: datetime) -> ReportedWeek:
    """Parse an ISO week such as 2026-W47; None is the last week that is over."""
    today = now.astimezone(ZoneInfo(zone)).date()
    if text is None:
        return week_of(today - timedelta(days=7), zone)
    match = _WEEK.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        week = week_of(date.fromisocalendar(int(match[1]), int(match[2]), 1), zone)
    except ValueError:
        raise CommandError(f"--week {text} is not a week: write its ISO number, such as 2026-W47.") from None
    if week.start > now:
        raise CommandError(
            f"--week {text} has not begun in {zone}: the last whole week is {parse_week(None, zone, now).name}."
        )
    return week


def week_of(day: date, zone: str) -> ReportedWeek:
    """Return the week that contains a day; around a change to summer time it has 167 or 169 hours."""
    monday = day - timedelta(days=day.weekday())
    year, number, _ = monday.isocalendar()
    start, end = (
        datetime.combine(each, time(), ZoneInfo(zone)).astimezone(UTC) for each in (monday, monday + timedelta(days=7))
    )
    return ReportedWeek(f"{year}-W{number:02}", start, end, zone)
