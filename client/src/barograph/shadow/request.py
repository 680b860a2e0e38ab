"""One request to a candidate, and what runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

SETTLED: Final = object()
"""What `RequestTracker.begin` returns instead of features if the request has its outcome already."""


class ShadowRequest:
    """One submitted request. Its tracker changes it, under a lock."""

    __slots__ = (
        *("number", "id", "context", "at_ms", "features", "deadline_s"),
        *("is_trial", "is_started", "is_hung", "is_abandoned"),
    )

    def __init__(self, id: Any, context: Mapping[str, str | None] | None, at_ms: int) -> None:
        self.number = 0
        """Identifies the request: several may have the same id."""
        self.id = id
        self.context = context
        self.at_ms = at_ms
        """When it was submitted (epoch ms): the time of its event."""
        self.features: Any = None
        """The candidate's input, until the call starts or the request has its outcome."""
        self.deadline_s = 0.0
        self.is_trial = False
        """Whether it is the trial of the half-open breaker."""
        self.is_started = False
        """Whether the candidate was called."""
        self.is_hung = False
        """Whether its call still occupies a worker after its time-out."""
        self.is_abandoned = False
        """Whether its worker was requested to end the call."""


class Workers(Protocol):
    """Run requests off the threads that submit them."""

    ends_calls: bool
    """Whether `abandon` ends a call, so that its worker is free again."""

    def put(self, request: ShadowRequest) -> None:
        """Queue a request. It returns at once."""

    def abandon(self, request: ShadowRequest) -> None:
        """End the call of a request whose result nobody waits for, if that is possible."""

    def stop(self) -> None:
        """End idle workers now and others after their call. It returns at once."""
