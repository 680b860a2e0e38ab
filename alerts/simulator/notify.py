"""Notification dispatch as in Alertmanager: groups, waits, repeats and mute timings.

A group contains the alerts of one policy with equal values of its `group_by` labels. The first alert waits
`group_wait`. From then on the group is evaluated every `group_interval`. It notifies if an alert is new or resolved, or
if an alert fires and the last notification is `repeat_interval` old. An active mute timing suppresses notifications.

Source: Prometheus Alertmanager, dispatch/dispatch.go and notify/notify.go (DedupStage.needsUpdate).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from barograph_server.alerts.routing import Policy
from barograph_server.alerts.settings import WEEKDAYS, AlertSettings, MuteTiming

MUTED_STEPS = 12 * 24 * 62
"""Number of muted evaluations (at five minutes) after which a group is abandoned: two months."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A firing period of one instance; `end` is None while it still fires."""

    labels: tuple[tuple[str, str], ...]
    start: int
    end: int | None = field(compare=False)
    """Not part of the identity: the alert stays the same when it ends."""

    @property
    def label_map(self) -> dict[str, str]:
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
    """Whether the message contains nothing new."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A leaf of the policy tree with its inherited attributes."""

    point: str
    group_by: tuple[str, ...]
    group_wait_s: int
    group_interval_s: int
    repeat_s: int
    mute: tuple[str, ...]


def destination(tree: Policy, labels: Mapping[str, str]) -> Destination:
    """Route labels: descend into the first matching child until none matches."""
    node, inherited = tree, Destination(tree.point, (), 30, 300, 4 * 3600, ())
    while True:
        inherited = Destination(
            node.point or inherited.point,
            node.group_by or inherited.group_by,
            inherited.group_wait_s if node.group_wait_s is None else node.group_wait_s,
            inherited.group_interval_s if node.group_interval_s is None else node.group_interval_s,
            inherited.repeat_s if node.repeat_s is None else node.repeat_s,
            node.mute,  # mute timings are not inherited
        )
        child = next((child for child in node.routes if matches(child, labels)), None)
        if child is None:
            return inherited
        node = child


def matches(policy: Policy, labels: Mapping[str, str]) -> bool:
    """Whether all matchers of a policy match; a missing label equals the empty string."""
    return all(_holds(labels.get(label, ""), how, value) for label, how, value in policy.matchers)


def _holds(actual: str, how: str, value: str) -> bool:
    if how in ("=", "!="):
        return (actual == value) == (how == "=")
    # The only patterns used are alternatives of plain words.
    return (actual in value.split("|")) == (how == "=~")


def is_muted(timing: MuteTiming, at: int) -> bool:
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
    """List all notifications up to a time (Unix seconds), in time order."""
    dispatcher = Dispatcher(tree, settings)
    for alert in alerts:
        dispatcher.add(alert)
    notifications = [each for group in dispatcher.groups.values() for each in group.run(until)]
    return sorted(notifications, key=lambda each: (each.at, each.point, each.group))


@dataclass(slots=True)
class Dispatcher:
    """Sorts alerts into groups and returns the notifications that are due."""

    tree: Policy
    settings: AlertSettings
    groups: dict[tuple[Destination, tuple[tuple[str, str], ...]], AlertGroup] = field(default_factory=dict)

    def add(self, alert: Alert) -> None:
        labels = alert.label_map
        where = destination(self.tree, labels)
        key = (where, tuple((label, labels.get(label, "")) for label in where.group_by))
        self.groups.setdefault(key, AlertGroup(where, key[1], self.settings)).members[alert] = alert

    def due_notifications(self, now: int) -> list[Notification]:
        """Return the notifications due now and drop groups that are finished."""
        notifications = []
        for key, group in list(self.groups.items()):
            if group.due is None and group.members:
                group.due = min(each.start for each in group.members) + group.where.group_wait_s
            if group.due is None or now < group.due:
                continue
            notifications += group.evaluate(now)[0]
            group.due = now + group.where.group_interval_s
            if not group.sent and not group.firing(now):
                del self.groups[key]
        return notifications


@dataclass(slots=True)
class AlertGroup:
    where: Destination
    group: tuple[tuple[str, str], ...]
    settings: AlertSettings
    members: dict[Alert, Alert] = field(default_factory=dict)
    """Keyed by identity: an ended alert replaces the same alert while it fired."""
    sent: frozenset[Alert] = frozenset()
    """Alerts that fired at the last notification."""
    sent_at: int | None = None
    due: int | None = None
    """Time of the next evaluation, on the wall clock."""

    def run(self, until: int) -> list[Notification]:
        upcoming = sorted(self.members.values(), key=lambda alert: alert.start, reverse=True)
        self.members.clear()
        notifications: list[Notification] = []
        at: int | None = upcoming[-1].start + self.where.group_wait_s
        muted = 0
        while at is not None and at <= until and muted <= MUTED_STEPS:
            while upcoming and upcoming[-1].start <= at:
                alert = upcoming.pop()
                self.members[alert] = alert
            sent_now, is_muted_now = self.evaluate(at)
            notifications += sent_now
            muted = muted + 1 if is_muted_now else 0
            at = self._next(at, upcoming[-1].start if upcoming else None)
        return notifications

    def firing(self, at: int) -> frozenset[Alert]:
        return frozenset(each for each in self.members.values() if each.start <= at and not _ended(each, at))

    def evaluate(self, at: int) -> tuple[list[Notification], bool]:
        """Return the notifications due at a time, and whether they were muted."""
        firing = self.firing(at)
        # An alert that started and ended between two evaluations was never notified and needs no resolution.
        resolved = frozenset(each for each in self.members.values() if each in self.sent and _ended(each, at))
        is_new = bool(firing - self.sent or resolved)
        is_due = bool(firing) and self.sent_at is not None and at - self.sent_at >= self.where.repeat_s
        if not is_new and not is_due:
            self._forget(at)
            return [], False
        if any(is_muted(self.settings.mute_timings[name], at) for name in self.where.mute):
            return [], True
        self.sent, self.sent_at = firing, at
        notification = Notification(at, self.where.point, self.group, _ordered(firing), _ordered(resolved), not is_new)
        self._forget(at)
        return [notification], False

    def _forget(self, at: int) -> None:
        """Drop ended alerts that need no further notification."""
        for alert in [each for each in self.members.values() if _ended(each, at) and each not in self.sent]:
            del self.members[alert]

    def _next(self, at: int, start: int | None) -> int | None:
        """Return the next evaluation that can notify; `start` is the start of the next alert."""
        firing = self.firing(at)
        if not firing and not self.sent:
            # The group has ended; its next alert creates a new one.
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
