"""Groups firing alert instances into incidents: one incident per model and cause.

A cause usually fires many instances: drift of a field raises its PSI and its share of values out of range, and a broken
source makes all its fields null within hours. An instance that starts to fire joins the first open incident of its
model for which one of these holds, and opens a new incident otherwise:

1. The instance has already been part of the incident.
2. The incident contains the same field with the same cause, at any age. Rules without fields (performance, silence)
   need only the same cause.
3. The incident contains the same field with another cause, and that field joined within the onset.
4. The incident contains other fields with the same cause, the first of which joined within the onset.

The onset is the length of the longest window of the two rules. A change that affects two fields at once exceeds their
thresholds at most that far apart. It counts from the first start, so that a series of separate changes does not become
one incident.

An incident stays open while an instance fires, and for `quiet_s` of its rules afterwards: a value that returns within
one window is measured from mostly the same data. An incident pages when its first paging instance fires; until then it
is a ticket. Instances prefer incidents that have paged.

Pure: no clock and no I/O. The same changes give the same incidents, all at once or evaluation by evaluation, and in any
order within one evaluation.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from barograph_server.alerts.rule import Rule, Severity

FIELD = "field"
"""Label of instances that belong to a field."""

MemberKey = tuple[str, str]
"""UID of a rule, and key of its instance."""


@dataclass(frozen=True, slots=True)
class FiringChange:
    """An instance starts or stops firing."""

    at: int
    """Time of the evaluation, Unix seconds."""
    rule: Rule
    key: str
    is_firing: bool

    @property
    def member(self) -> MemberKey:
        return self.rule.uid, self.key


@dataclass(slots=True)
class Member:
    """One instance in an incident, with the periods in which it fired as part of this incident."""

    rule: Rule
    key: str
    periods: list[tuple[int, int | None]]
    """(start, end) in order of time; the end of the last is None while it fires."""

    @property
    def since(self) -> int:
        """Time at which the instance joined."""
        return self.periods[0][0]

    @property
    def end(self) -> int | None:
        """Time at which it last stopped firing; None while it fires."""
        return self.periods[-1][1]

    @property
    def field(self) -> str | None:
        """The field of the instance; None for rules without fields."""
        return self.key if self.rule.signal.label == FIELD else None


@dataclass(slots=True)
class Incident:
    model: str
    cause: str
    """Cause of the instance that opened it: `Rule.cause`."""
    name: str
    """Cause and field of the instance that opened it. No two open incidents of a model share it."""
    opened_at: int
    paged_at: int | None = None
    """Time of the first paging instance; None for a ticket."""
    members: dict[MemberKey, Member] = field(default_factory=dict)
    """In the order in which they joined."""

    @property
    def severity(self) -> Severity:
        """The highest severity of its instances."""
        return "ticket" if self.paged_at is None else "page"

    @property
    def rule(self) -> Rule:
        """The rule whose runbook to follow: that of an instance that fires comes first, and of these one that pages."""
        return min(self.members.values(), key=lambda each: (each.end is not None, each.rule.severity != "page")).rule

    @property
    def is_firing(self) -> bool:
        return any(member.end is None for member in self.members.values())

    @property
    def end(self) -> int | None:
        """Time at which its last instance stopped firing; None while one fires."""
        return None if self.is_firing else max(member.end or 0 for member in self.members.values())

    def is_open(self, at: int) -> bool:
        """Whether an instance that starts to fire at this time can still join."""
        end = self.end
        return end is None or at <= end + max(member.rule.quiet_s for member in self.members.values())

    @property
    def firings(self) -> int:
        """Number of periods in which an instance fired."""
        return sum(len(member.periods) for member in self.members.values())

    @property
    def title(self) -> str:
        """Causes with their fields, such as `drift of temp and dewp; data quality of age`."""
        keys: dict[str, list[str]] = {}
        for member in self.members.values():
            known = keys.setdefault(member.rule.cause, [])
            if member.key and member.key not in known:
                known.append(member.key)
        return "; ".join(_name(cause, *known) for cause, known in keys.items())


@dataclass(slots=True)
class IncidentLog:
    """Incidents so far. `advance` extends it evaluation by evaluation."""

    incidents: list[Incident] = field(default_factory=list)
    """All incidents in the order in which they opened."""
    _at: int = 0
    _open: list[Incident] = field(default_factory=list)
    _firing: dict[tuple[str, MemberKey], Incident] = field(default_factory=dict)

    def advance(self, changes: Iterable[FiringChange]) -> list[Incident]:
        """Add changes and return the incidents that they belong to.

        A change before the latest evaluation counts at the latest evaluation. A start of an instance that fires, and an
        end of one that does not, change nothing.
        """
        touched: dict[int, Incident] = {}
        for at, batch in groupby(sorted(changes, key=_order), key=lambda change: change.at):
            self._at = max(at, self._at)
            self._open = [incident for incident in self._open if incident.is_open(self._at)]
            for change in batch:
                incident = self._start(change) if change.is_firing else self._stop(change)
                if incident is not None:
                    touched[id(incident)] = incident
        return list(touched.values())

    def incident_of(self, rule: Rule, key: str) -> Incident | None:
        """The incident of a firing instance; None if it does not fire."""
        return self._firing.get((rule.model, (rule.uid, key)))

    def _start(self, change: FiringChange) -> Incident | None:
        identity = change.rule.model, change.member
        if identity in self._firing:
            return None
        incident = self._find(change)
        if incident is None:
            cause = change.rule.cause
            incident = Incident(change.rule.model, cause, _name(cause, change.key), self._at)
            self.incidents.append(incident)
            self._open.append(incident)
        if change.member in incident.members:
            incident.members[change.member].periods.append((self._at, None))
        else:
            incident.members[change.member] = Member(change.rule, change.key, [(self._at, None)])
        if change.rule.severity == "page" and incident.paged_at is None:
            incident.paged_at = self._at
        self._firing[identity] = incident
        return incident

    def _stop(self, change: FiringChange) -> Incident | None:
        incident = self._firing.pop((change.rule.model, change.member), None)
        if incident is not None:
            periods = incident.members[change.member].periods
            periods[-1] = periods[-1][0], self._at
        return incident

    def _find(self, change: FiringChange) -> Incident | None:
        own = [incident for incident in self._open if incident.model == change.rule.model]
        for severity in ("page", "ticket"):
            ranked = [
                (rank, index, incident)
                for index, incident in enumerate(own)
                if incident.severity == severity and (rank := self._rank(incident, change)) is not None
            ]
            if ranked:
                return min(ranked, key=lambda each: each[:2])[2]
        return None

    def _rank(self, incident: Incident, change: FiringChange) -> int | None:
        """The first of the four conditions that holds; None if none does."""
        rule, has_field = change.rule, change.rule.signal.label == FIELD
        members = list(incident.members.values())
        if change.member in incident.members:
            return 1
        same_cause = [member for member in members if member.rule.cause == rule.cause]
        if any(not has_field or member.field == change.key for member in same_cause):
            return 2
        if has_field and any(member.field == change.key and self._is_onset(member, rule) for member in members):
            return 3
        return 4 if same_cause and self._is_onset(same_cause[0], rule) else None

    def _is_onset(self, member: Member, rule: Rule) -> bool:
        return self._at - member.since <= max(member.rule.onset_s, rule.onset_s)


def fold(changes: Iterable[FiringChange]) -> list[Incident]:
    """Group changes into incidents, in the order in which these opened."""
    log = IncidentLog()
    log.advance(changes)
    return log.incidents


def firing_changes(rule: Rule, key: str, start: int, end: int | None) -> Iterator[FiringChange]:
    """The changes of one firing period; `end` is None while it fires."""
    yield FiringChange(start, rule, key, True)
    if end is not None:
        yield FiringChange(end, rule, key, False)


def _order(change: FiringChange) -> tuple[int, bool, bool, str, str, str]:
    """By time. Within one evaluation ends come first, then pages, so that the order of the input does not matter."""
    rule = change.rule
    return change.at, change.is_firing, rule.severity != "page", rule.model, rule.uid, change.key


def _name(cause: str, *keys: str) -> str:
    words = cause.replace("-", " ")
    known = [key for key in keys if key]
    if not known:
        return words
    head, last = ", ".join(known[:-1]), known[-1]
    return f"{words} of {head} and {last}" if head else f"{words} of {last}"
