"""Who is told what and when: groups, waits, repeats and mute timings, as Alertmanager dispatches them.

A group is the alerts of one policy with the same values of the labels that it groups by. Its first alert waits
`group_wait`; from then on the group is looked at every `group_interval`, and tells where an alert is new or resolved,
or where something fires and it was told last `repeat_interval` ago. While a mute timing holds nothing is told.

Source: Prometheus Alertmanager, dispatch/dispatch.go and notify/notify.go (DedupStage.needsUpdate).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from alerts.routing import Policy
from alerts.settings import WEEKDAYS, AlertSettings, MuteTiming

MUTED_STEPS = 12 * 24 * 62
"""How many looks of five minutes a group is muted at most before it is given up: two months."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One instance that fired, from when to when; `end` is None while it does."""

    labels: tuple[tuple[str, str], ...]
    start: int
    end: int | None = field(compare=False)
    """Not of its identity: it is the same alert before and after."""

    @property
    def label_map(self) -> dict[str, str]:
        """Its labels by name."""
        return dict(self.labels)


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to a contact point."""

    at: int
    point: str
    group: tuple[tuple[str, str], ...]
    firing: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    is_repeat: bool
    """Whether nothing is new in it."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A leaf of the policy tree, with what its parents say."""

    point: str
    group_by: tuple[str, ...]
    group_wait_s: int
    group_interval_s: int
    repeat_s: int
    mute: tuple[str, ...]


def destination(tree: Policy, labels: Mapping[str, str]) -> Destination:
    """Find where labels lead: down the first child that matches, as far as one does."""
    node, said = tree, Destination(tree.point, (), 30, 300, 4 * 3600, ())
    while True:
        said = Destination(
            node.point or said.point,
            node.group_by or said.group_by,
            said.group_wait_s if node.group_wait_s is None else node.group_wait_s,
            said.group_interval_s if node.group_interval_s is None else node.group_interval_s,
            said.repeat_s if node.repeat_s is None else node.repeat_s,
            node.mute,  # a mute timing holds for its own node alone
        )
        child = next((child for child in node.routes if matches(child, labels)), None)
        if child is None:
            return said
        node = child


def matches(policy: Policy, labels: Mapping[str, str]) -> bool:
    """Whether all matchers of a policy hold; a label that is not there is an empty one."""
    return all(_holds(labels.get(label, ""), how, value) for label, how, value in policy.matchers)


def _holds(given: str, how: str, value: str) -> bool:
    if how in ("=", "!="):
        return (given == value) == (how == "=")
    # Of patterns only alternatives of plain words are used here.
    return (given in value.split("|")) == (how == "=~")


def is_muted(timing: MuteTiming, at: int) -> bool:
    """Whether a mute timing holds at a moment."""
    local = datetime.fromtimestamp(at, ZoneInfo(timing.timezone))
    minute = f"{local:%H:%M}"
    if timing.times and not any(start <= minute < end for start, end in timing.times):
        return False
    if timing.weekdays and not any(_in_days(local.weekday(), span) for span in timing.weekdays):
        return False
    if timing.months and not any(_in_numbers(local.month, span, 12) for span in timing.months):
        return False
    last = (local.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return not timing.days_of_month or any(_in_numbers(local.day, span, last.day) for span in timing.days_of_month)


def dispatch(alerts: Iterable[Alert], tree: Policy, settings: AlertSettings, until: int) -> list[Notification]:
    """List what is told up to a moment, in order of time.

    Args:
        alerts: everything that fired.
        tree: the policies.
        settings: hold the mute timings.
        until: the end of the simulation, Unix seconds.
    """
    dispatcher = Dispatcher(tree, settings)
    for alert in alerts:
        dispatcher.take(alert)
    told = [each for group in dispatcher.groups.values() for each in group.run(until)]
    return sorted(told, key=lambda each: (each.at, each.point, each.group))


@dataclass(slots=True)
class Dispatcher:
    """Sorts alerts into groups, and says what each has to tell at a moment."""

    tree: Policy
    settings: AlertSettings
    groups: dict[tuple[Destination, tuple[tuple[str, str], ...]], Group] = field(default_factory=dict)

    def take(self, alert: Alert) -> None:
        """Note an alert that fires, or the end of one that fired."""
        labels = alert.label_map
        where = destination(self.tree, labels)
        key = (where, tuple((label, labels.get(label, "")) for label in where.group_by))
        self.groups.setdefault(key, Group(where, key[1], self.settings)).members[alert] = alert

    def tell(self, now: int) -> list[Notification]:
        """What is to be told now; groups that have nothing left to tell are forgotten."""
        told = []
        for key, group in list(self.groups.items()):
            if group.due is None and group.members:
                group.due = min(each.start for each in group.members) + group.where.group_wait_s
            if group.due is None or now < group.due:
                continue
            told += group.look(now)[0]
            group.due = now + group.where.group_interval_s
            if not group.sent and not group.firing(now):
                del self.groups[key]
        return told


@dataclass(slots=True)
class Group:
    """The alerts that are told together."""

    where: Destination
    group: tuple[tuple[str, str], ...]
    settings: AlertSettings
    members: dict[Alert, Alert] = field(default_factory=dict)
    """Each under itself: one that ended takes the place of the same one that fired."""
    sent: frozenset[Alert] = frozenset()
    """What was firing when it was told last."""
    sent_at: int | None = None
    due: int | None = None
    """When it is looked at next, on the clock of the wall."""

    def run(self, until: int) -> list[Notification]:
        """Follow the group from its first alert on."""
        coming = sorted(self.members.values(), key=lambda alert: alert.start, reverse=True)
        self.members.clear()
        told: list[Notification] = []
        at: int | None = coming[-1].start + self.where.group_wait_s
        muted = 0
        while at is not None and at <= until and muted <= MUTED_STEPS:
            while coming and coming[-1].start <= at:
                alert = coming.pop()
                self.members[alert] = alert
            found, is_muted_now = self.look(at)
            told += found
            muted = muted + 1 if is_muted_now else 0
            at = self._next(at, coming[-1].start if coming else None)
        return told

    def firing(self, at: int) -> frozenset[Alert]:
        """Its alerts that fire at a moment."""
        return frozenset(each for each in self.members.values() if each.start <= at and not _ended(each, at))

    def look(self, at: int) -> tuple[list[Notification], bool]:
        """Tell what there is to tell, and say whether it was muted."""
        firing = self.firing(at)
        # What began and ended between two looks was never told, and need not be.
        resolved = frozenset(each for each in self.members.values() if each in self.sent and _ended(each, at))
        is_new = bool(firing - self.sent or resolved)
        is_due = bool(firing) and self.sent_at is not None and at - self.sent_at >= self.where.repeat_s
        if not is_new and not is_due:
            self._forget(at)
            return [], False
        if any(is_muted(self.settings.mute_timings[name], at) for name in self.where.mute):
            return [], True
        self.sent, self.sent_at = firing, at
        told = Notification(at, self.where.point, self.group, _ordered(firing), _ordered(resolved), not is_new)
        self._forget(at)
        return [told], False

    def _forget(self, at: int) -> None:
        """Drop what is over and was told, or need not be."""
        for alert in [each for each in self.members.values() if _ended(each, at) and each not in self.sent]:
            del self.members[alert]

    def _next(self, at: int, start: int | None) -> int | None:
        """The next look at which there may be something to tell; `start` is when the next alert begins."""
        firing = self.firing(at)
        if not firing and not self.sent:
            # The group is gone; its next alert makes it anew.
            return None if start is None else start + self.where.group_wait_s
        events = [each.end for each in self.members.values() if each.end is not None and each.end > at]
        if start is not None:
            events.append(start)
        if self.sent_at is not None and firing:
            events.append(self.sent_at + self.where.repeat_s)
        if firing != self.sent:
            events.append(at + 1)
        if not events:
            return None
        step = self.where.group_interval_s
        return at + max(1, -(-(min(events) - at) // step)) * step


def _ended(alert: Alert, at: int) -> bool:
    return alert.end is not None and alert.end <= at


def _ordered(alerts: frozenset[Alert]) -> tuple[Alert, ...]:
    return tuple(sorted(alerts, key=lambda alert: (alert.start, alert.labels)))


def _in_days(day: int, span: str) -> bool:
    first, _, last = span.partition(":")
    return WEEKDAYS.index(first) <= day <= WEEKDAYS.index(last or first)


def _in_numbers(number: int, span: str, last: int) -> bool:
    low, _, high = span.partition(":")
    bounds = [int(each) if int(each) > 0 else last + 1 + int(each) for each in (low, high or low)]
    return bounds[0] <= number <= bounds[1]
