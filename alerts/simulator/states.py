"""State machine of alert instances, as in Grafana.

| evaluation | Normal | Pending | Alerting | Recovering |
|---|---|---|---|---|
| beyond the threshold | Pending (Alerting without `for`) | Alerting after `for` | stays | Alerting |
| otherwise | stays | Normal | Recovering (Normal without `keep_firing_for`) | Normal after `keep_firing_for` |

`for: 15m` at an interval of one minute is reached by the 16th consecutive evaluation. While an instance is Pending or
Alerting, the clear threshold decides; otherwise, the threshold. An instance without a row keeps its state for a number
of evaluations, then it resolves and is dropped. If a query fails, `execErrState: Error` creates an instance of its own,
and the instances of the rule have no rows.

Source: Grafana 13.2, pkg/services/ngalert/state (state.go, manager.go), pkg/expr/hysteresis.go,
pkg/services/ngalert/schedule/loaded_metrics_reader.go.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from barograph_server.alerts.rule import Rule

State = Literal["Normal", "Pending", "Alerting", "Recovering", "NoData", "Error"]


class Zone(IntEnum):
    """Result of one evaluation of an instance."""

    CLEAR = 0
    """On the good side of the clear threshold."""
    BETWEEN = 1
    FIRING = 2
    MISSING = 3
    """The query returned rows, but none for this instance."""
    NO_DATA = 4
    """The query returned no rows."""
    ERROR = 5


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state of one instance."""

    at: int
    """Time of the evaluation, Unix seconds."""
    key: str
    before: State
    after: State
    reason: str = ""
    """`NoData`, `Error`, `KeepLast` or `MissingSeries` if the number is not the reason."""


@dataclass(slots=True)
class Instance:
    rule: Rule
    key: str
    state: State = "Normal"
    reason: str = ""
    since: int = 0
    """Time at which it became Pending or Recovering."""
    last_evaluation: int | None = None
    """The last evaluation with a row; None before the first."""

    def advance(self, first: int, last: int, zone: Zone) -> list[Transition]:
        """Evaluate at every interval from `first` to `last`, always with the same result; return the transitions.

        Args:
            first: the first evaluation, Unix seconds.
            last: the last evaluation, a whole number of intervals later.
        """
        # NoData and Error create an instance of their own; the instances of the rule have no rows meanwhile.
        own = (zone == Zone.NO_DATA and self.rule.no_data == "NoData") or (
            zone == Zone.ERROR and self.rule.exec_err == "Error"
        )
        if own or zone == Zone.MISSING:
            return self._missing(first, last)
        changes = self._result(first, last, zone)
        self.last_evaluation = last
        return changes

    @property
    def uses_clear_threshold(self) -> bool:
        return self.state in ("Pending", "Alerting") and not self.reason

    def _result(self, first: int, last: int, zone: Zone) -> list[Transition]:
        if zone == Zone.BETWEEN:
            return self._fire(first, last) if self.uses_clear_threshold else self._clear(first, last)
        if zone in (Zone.CLEAR, Zone.FIRING):
            return self._fire(first, last) if zone == Zone.FIRING else self._clear(first, last)
        how, reason = (self.rule.no_data, "NoData") if zone == Zone.NO_DATA else (self.rule.exec_err, "Error")
        if how == "Alerting":
            return self._fire(first, last, reason)
        if how == "OK":
            return self._clear(first, last, reason)
        assert how == "KeepLast"
        keeps = self._fire if self.state in ("Alerting", "Pending") else self._clear
        return keeps(first, last, "KeepLast")

    def _fire(self, first: int, last: int, reason: str = "") -> list[Transition]:
        changes: list[Transition] = []
        if self.state not in ("Pending", "Alerting", "Recovering"):
            self.since = first
            self._change_state(changes, first, "Pending" if self.rule.for_s else "Alerting", reason)
        elif self.state == "Recovering":
            self._change_state(changes, first, "Alerting", reason)
        if self.state == "Pending":
            due = self._due(first, self.rule.for_s)
            if due <= last:
                self._change_state(changes, due, "Alerting", reason)
        self.reason = reason
        return changes

    def _clear(self, first: int, last: int, reason: str = "") -> list[Transition]:
        changes: list[Transition] = []
        if self.state == "Alerting" and self.rule.keep_firing_for_s:
            self.since = first
            self._change_state(changes, first, "Recovering", reason)
        elif self.state not in ("Normal", "Recovering"):
            self._change_state(changes, first, "Normal", reason)
        if self.state == "Recovering":
            due = self._due(first, self.rule.keep_firing_for_s)
            if due <= last:
                self._change_state(changes, due, "Normal", reason)
        self.reason = reason
        return changes

    def _due(self, first: int, wait_s: int) -> int:
        """The first evaluation from `first` on at which a wait that began at `since` has elapsed."""
        every_s = self.rule.every_s
        return max(first, first + -(-(self.since + wait_s - first) // every_s) * every_s)

    def _missing(self, first: int, last: int) -> list[Transition]:
        if self.last_evaluation is None:
            return []
        changes: list[Transition] = []
        stale = self.last_evaluation + self.rule.missing_evaluations * self.rule.every_s
        if stale <= last:
            if self.state != "Normal":
                self._change_state(changes, max(stale, first), "Normal", "MissingSeries")
            self.last_evaluation, self.reason = None, ""
        return changes

    def _change_state(self, changes: list[Transition], at: int, after: State, reason: str) -> None:
        if after != self.state:
            changes.append(Transition(at, self.key, self.state, after, reason))
            self.state = after


def zone_of(rule: Rule, value: float) -> Zone:
    """Return the zone of a number; NaN is never beyond a threshold."""
    if rule.below:
        return Zone.FIRING if value < rule.threshold else Zone.CLEAR if value > rule.clear else Zone.BETWEEN
    return Zone.FIRING if value > rule.threshold else Zone.CLEAR if value < rule.clear else Zone.BETWEEN
