"""The states of alert instances, as Grafana moves them from evaluation to evaluation.

| result of an evaluation | Normal | Pending | Alerting | Recovering |
|---|---|---|---|---|
| the line is passed | Pending (Alerting without `for`) | Alerting after `for` | stays | Alerting |
| it is not | stays | Normal | Recovering (Normal without `keep_firing_for`) | Normal after `keep_firing_for` |

`for: 15m` at an interval of a minute is reached by the 16th evaluation in a row. While an instance is Pending or
Alerting the clearing line decides, else the line. An instance without a row keeps its state until so many evaluations
have missed it; then it is resolved and forgotten. Where a query fails, `execErrState: Error` makes an instance of its
own, and those of the rule are without rows.

Source: Grafana 13.2, pkg/services/ngalert/state (state.go, manager.go), pkg/expr/hysteresis.go,
pkg/services/ngalert/schedule/loaded_metrics_reader.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from alerts.rule import Rule

State = Literal["Normal", "Pending", "Alerting", "Recovering", "NoData", "Error"]


class Zone(IntEnum):
    """Where one evaluation found an instance."""

    CLEAR = 0
    """On the good side of the clearing line."""
    BETWEEN = 1
    """Between the lines."""
    FIRING = 2
    """Beyond the line."""
    MISSING = 3
    """The query had rows, and none of this instance."""
    NO_DATA = 4
    """The query had no row."""
    ERROR = 5
    """The query failed."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state of one instance."""

    at: int
    """The evaluation, in Unix seconds."""
    key: str
    before: State
    after: State
    reason: str = ""
    """`NoData`, `Error`, `KeepLast` or `MissingSeries`, where it was not the number."""


@dataclass(slots=True)
class Instance:
    """One instance of a rule."""

    rule: Rule
    key: str
    state: State = "Normal"
    reason: str = ""
    since: int = 0
    """When it became pending or recovering."""
    seen: int | None = None
    """The last evaluation that had a row of it; None before the first."""

    def advance(self, first: int, last: int, zone: Zone) -> list[Transition]:
        """Evaluate at every interval from `first` to `last`, each with the same outcome.

        Args:
            first: the first evaluation, Unix seconds.
            last: the last one, a whole number of intervals later.
            zone: what each finds.

        Returns:
            What changed, in order of time.
        """
        # States of these names are an instance of their own; those of the rule are without rows meanwhile.
        own = (zone == Zone.NO_DATA and self.rule.no_data == "NoData") or (
            zone == Zone.ERROR and self.rule.exec_err == "Error"
        )
        if own or zone == Zone.MISSING:
            return self._missing(first, last)
        changes = self._result(first, last, zone)
        self.seen = last
        return changes

    @property
    def is_loaded(self) -> bool:
        """Whether the clearing line decides."""
        return self.state in ("Pending", "Alerting") and not self.reason

    def _result(self, first: int, last: int, zone: Zone) -> list[Transition]:
        if zone == Zone.BETWEEN:
            return self._fires(first, last) if self.is_loaded else self._rests(first, last)
        if zone in (Zone.CLEAR, Zone.FIRING):
            return self._fires(first, last) if zone == Zone.FIRING else self._rests(first, last)
        how, reason = (self.rule.no_data, "NoData") if zone == Zone.NO_DATA else (self.rule.exec_err, "Error")
        if how == "Alerting":
            return self._fires(first, last, reason)
        if how == "OK":
            return self._rests(first, last, reason)
        assert how == "KeepLast"
        keeps = self._fires if self.state in ("Alerting", "Pending") else self._rests
        return keeps(first, last, "KeepLast")

    def _fires(self, first: int, last: int, reason: str = "") -> list[Transition]:
        changes: list[Transition] = []
        if self.state not in ("Pending", "Alerting", "Recovering"):
            self.since = first
            self._move(changes, first, "Pending" if self.rule.for_s else "Alerting", reason)
        elif self.state == "Recovering":
            self._move(changes, first, "Alerting", reason)
        if self.state == "Pending":
            due = self._due(first, self.rule.for_s)
            if due <= last:
                self._move(changes, due, "Alerting", reason)
        self.reason = reason
        return changes

    def _rests(self, first: int, last: int, reason: str = "") -> list[Transition]:
        changes: list[Transition] = []
        if self.state == "Alerting" and self.rule.keep_firing_for_s:
            self.since = first
            self._move(changes, first, "Recovering", reason)
        elif self.state not in ("Normal", "Recovering"):
            self._move(changes, first, "Normal", reason)
        if self.state == "Recovering":
            due = self._due(first, self.rule.keep_firing_for_s)
            if due <= last:
                self._move(changes, due, "Normal", reason)
        self.reason = reason
        return changes

    def _due(self, first: int, wait_s: int) -> int:
        """The first evaluation from `first` on at which a wait since `since` is over."""
        every_s = self.rule.every_s
        return max(first, first + -(-(self.since + wait_s - first) // every_s) * every_s)

    def _missing(self, first: int, last: int) -> list[Transition]:
        if self.seen is None:
            return []
        changes: list[Transition] = []
        stale = self.seen + self.rule.missing_evaluations * self.rule.every_s
        if stale <= last:
            if self.state != "Normal":
                self._move(changes, max(stale, first), "Normal", "MissingSeries")
            self.seen, self.reason = None, ""
        return changes

    def _move(self, changes: list[Transition], at: int, after: State, reason: str) -> None:
        if after != self.state:
            changes.append(Transition(at, self.key, self.state, after, reason))
            self.state = after


def zone_of(rule: Rule, value: float) -> Zone:
    """Where a number of a rule lies; NaN passes no line."""
    if rule.below:
        return Zone.FIRING if value < rule.threshold else Zone.CLEAR if value > rule.clear else Zone.BETWEEN
    return Zone.FIRING if value > rule.threshold else Zone.CLEAR if value < rule.clear else Zone.BETWEEN
