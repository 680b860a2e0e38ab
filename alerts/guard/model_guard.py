"""The state of one model: degraded while rules of its contract fire, unknown while monitoring is blind.

| state | becomes | when |
|---|---|---|
| healthy | degraded | an instance of a rule of `fallback.rules` has fired for `fallback.hold_s` |
| degraded | healthy | no instance has been pending, firing or recovering for `fallback.recover_s` |
| either | unknown | monitoring has been blind for `BLIND_AFTER_S` |
| unknown | the state before | monitoring sees again |

While monitoring is blind, the state before does not change, and the wait for `recover_s` starts over.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from barograph.contract import Fallback
from barograph.guard.health import HealthReason, HealthState, ModelHealth, RuleProgress

BLIND_AFTER_S = 60
"""How long monitoring may be blind before the state becomes unknown: longer than a restart of a server or processor."""
BLIND = "blind"
"""The rule of the reason that monitoring is blind."""


@dataclass(frozen=True, slots=True)
class ActiveInstance:
    """An instance of a rule that is pending, firing or recovering."""

    progress: RuleProgress
    reason: HealthReason

    @property
    def is_firing(self) -> bool:
        """Whether the condition has lasted for the rule's `for`."""
        return self.progress.state != "Pending"


class ModelGuard:
    def __init__(self, model: str, fallback: Fallback, instance: str, last: ModelHealth | None = None) -> None:
        self._model, self.fallback, self._instance = model, fallback, instance
        self.last = last
        self._state: HealthState = "healthy"
        self._since_s = 0
        self._quiet_since_s: int | None = None
        self._blind_since_s: int | None = None
        self._firing_since_s: dict[tuple[str, str], int] = {}
        """Rule and key of each firing instance → when it was first seen to fire."""
        self._sequence = 0
        if last is not None:
            self._firing_since_s = {(each.rule, each.field): each.since_ms // 1000 for each in last.reasons}
            self._sequence = last.sequence
            was_blind = last.state == "unknown"
            self._state = last.known_state if was_blind else last.state
            self._since_s = (last.known_since_ms if was_blind else last.since_ms) // 1000
            self._quiet_since_s = last.quiet_since_s
            self._blind_since_s = last.blind_since_s

    def evaluate(self, now_s: int, active: Sequence[ActiveInstance], blind: str) -> ModelHealth:
        """Return the record of one evaluation.

        Args:
            active: the instances of the model's rules of `fallback.rules` that are not quiet.
            blind: why the rules cannot be evaluated or their numbers are old; empty if neither is so.
        """
        if self._since_s == 0:
            self._since_s = now_s
        # The clock of the guard before may have been ahead.
        if self._quiet_since_s is not None:
            self._quiet_since_s = min(self._quiet_since_s, now_s)
        if self._blind_since_s is not None:
            self._blind_since_s = min(self._blind_since_s, now_s)
        if blind:
            self._quiet_since_s = None
            if self._blind_since_s is None:
                self._blind_since_s = now_s
        firing = {(each.reason.rule, each.reason.field): each.reason for each in active if each.is_firing}
        self._firing_since_s = {key: min(self._firing_since_s.get(key, now_s), now_s) for key in firing}
        if not blind:
            self._blind_since_s = None
            self._follow(now_s, bool(active))
        # Clients ignore a sequence below the newest one that they know, also of a topic that was deleted since.
        self._sequence = self._sequence + 1 if self._sequence else now_s * 1000
        is_unknown = self._blind_since_s is not None and now_s - self._blind_since_s >= BLIND_AFTER_S
        unknown_since_s = (self._blind_since_s or 0) + BLIND_AFTER_S
        reasons = tuple(
            msgspec.structs.replace(reason, since_ms=self._firing_since_s[key] * 1000) for key, reason in firing.items()
        )
        if is_unknown:
            reasons = (HealthReason(rule=BLIND, text=blind, since_ms=(self._blind_since_s or 0) * 1000), *reasons)
        evaluated_at_ms = now_s * 1000
        if blind and self.last is not None:
            evaluated_at_ms = self.last.evaluated_at_ms
        self.last = ModelHealth(
            model=self._model,
            state="unknown" if is_unknown else self._state,
            since_ms=(unknown_since_s if is_unknown else self._since_s) * 1000,
            at_ms=now_s * 1000,
            evaluated_at_ms=evaluated_at_ms,
            sequence=self._sequence,
            reasons=reasons,
            when_unknown=self.fallback.when_unknown,
            guard=self._instance,
            progress=tuple(each.progress for each in active),
            known_state=self._state,
            known_since_ms=self._since_s * 1000,
            quiet_since_s=self._quiet_since_s,
            blind_since_s=self._blind_since_s,
        )
        return self.last

    def _follow(self, now_s: int, is_active: bool) -> None:
        if self._state == "healthy":
            if any(now_s - since_s >= self.fallback.hold_s for since_s in self._firing_since_s.values()):
                self._change(now_s, "degraded")
        elif is_active:
            self._quiet_since_s = None
        else:
            if self._quiet_since_s is None:
                self._quiet_since_s = now_s
            if now_s - self._quiet_since_s >= self.fallback.recover_s:
                self._change(now_s, "healthy")

    def _change(self, now_s: int, state: HealthState) -> None:
        self._state, self._since_s, self._quiet_since_s = state, now_s, None


def is_news(record: ModelHealth, before: ModelHealth | None) -> bool:
    """Return whether a record differs from the one before in more than its times and numbers of instances."""
    return before is None or _content(record) != _content(before)


def _content(record: ModelHealth) -> tuple[object, ...]:
    reasons = tuple((each.rule, each.field) for each in record.reasons)
    progress = tuple(map(msgspec.structs.astuple, record.progress))
    return record.state, record.known_state, record.since_ms, reasons, record.when_unknown, progress
