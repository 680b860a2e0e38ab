"""Who is told what and when: groups, waits, repeats and mute timings, as Alertmanager dispatches them.

A group is the alerts of one policy with the same values of the labels that it groups by. Its first alert waits
`group_wait`; from then on the group is looked at every `group_interval`, and tells where an alert is new or resolved,
or where something fires and it was told last `repeat_interval` ago. While a mute timing holds nothing is told.

Source: Prometheus Alertmanager, dispatch/dispatch.go and notify/notify.go (DedupStage.needsUpdate).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    end: int | None

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
    groups: dict[tuple[Destination, tuple[tuple[str, str], ...]], list[Alert]] = {}
    for alert in alerts:
        labels = alert.label_map
        where = destination(tree, labels)
        group = tuple((label, labels.get(label, "")) for label in where.group_by)
        groups.setdefault((where, group), []).append(alert)
    told: list[Notification] = []
    for (where, group), members in groups.items():
        told += _Group(where, group, settings).run(sorted(members, key=lambda alert: alert.start), until)
    return sorted(told, key=lambda each: (each.at, each.point, each.group))


@dataclass(slots=True)
class _Group:
    where: Destination
    group: tuple[tuple[str, str], ...]
    settings: AlertSettings
    told: list[Notification] = field(default_factory=list)
    sent: frozenset[Alert] = frozenset()
    """What was firing when it was told last."""
    sent_at: int | None = None

    def run(self, members: Sequence[Alert], until: int) -> list[Notification]:
        """Follow the group through its looks."""
        at: int | None = members[0].start + self.where.group_wait_s
        muted = 0
        while at is not None and at <= until:
            muted = muted + 1 if self._look(members, at) else 0
            at = None if muted > MUTED_STEPS else self._next(members, at)
        return self.told

    def _look(self, members: Sequence[Alert], at: int) -> bool:
        """Tell what there is to tell; say whether it was muted."""
        firing = frozenset(each for each in members if each.start <= at and (each.end is None or each.end > at))
        resolved = frozenset(each for each in self.sent if each.end is not None and each.end <= at)
        # What began and ended between two looks was never told, and need not be.
        is_new = bool(firing - self.sent or resolved)
        is_due = bool(firing) and self.sent_at is not None and at - self.sent_at >= self.where.repeat_s
        if not is_new and not is_due:
            return False
        if any(is_muted(self.settings.mute_timings[name], at) for name in self.where.mute):
            return True
        self.told.append(
            Notification(at, self.where.point, self.group, _ordered(firing), _ordered(resolved), not is_new)
        )
        self.sent, self.sent_at = firing, at
        return False

    def _next(self, members: Sequence[Alert], at: int) -> int | None:
        """The next look at which there may be something to tell."""
        firing = [each for each in members if each.start <= at and (each.end is None or each.end > at)]
        if not firing and not self.sent:
            # The group is gone; its next alert makes it anew.
            later = [each.start for each in members if each.start > at]
            return later[0] + self.where.group_wait_s if later else None
        events = [each.start for each in members if each.start > at]
        events += [each.end for each in members if each.end is not None and each.end > at]
        if self.sent_at is not None and firing:
            events.append(self.sent_at + self.where.repeat_s)
        unsent = frozenset(firing) != self.sent
        if unsent:
            events.append(at + 1)
        if not events:
            return None
        step = self.where.group_interval_s
        return at + max(1, -(-(min(events) - at) // step)) * step


def _ordered(alerts: frozenset[Alert]) -> tuple[Alert, ...]:
    return tuple(sorted(alerts, key=lambda alert: (alert.start, alert.labels)))


def _in_days(day: int, span: str) -> bool:
    first, _, last = span.partition(":")
    return WEEKDAYS.index(first) <= day <= WEEKDAYS.index(last or first)


def _in_numbers(number: int, span: str, last: int) -> bool:
    low, _, high = span.partition(":")
    bounds = [int(each) if int(each) > 0 else last + 1 + int(each) for each in (low, high or low)]
    return bounds[0] <= number <= bounds[1]
