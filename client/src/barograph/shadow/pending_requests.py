"""The account of submitted requests: each is pending until it has exactly one outcome."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from barograph.events import ShadowReason
from barograph.shadow.request import ShadowRequest

ANSWERED, ERROR = "answered", "error"
_RESERVED = frozenset(reason.value for reason in ShadowReason)
OUTCOMES = (ANSWERED, ERROR, *sorted(_RESERVED))
"""How a request can end: an answer, an exception of the candidate, or a reserved value of `error`."""


class ShadowStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a shadow's requests in this process; `submitted` is `pending` plus the sum of `outcomes`."""

    submitted: int
    """All requests."""
    outcomes: dict[str, int]
    """Requests by how they ended: `answered`, `error` (an exception of the candidate), or a value of `ShadowReason`."""
    pending: int
    """Requests without outcome: queued or running."""
    late: int
    """Results that came after the outcome, most of them after a time-out. They are dropped."""


class PendingRequests:
    """Pending requests in the order of their deadlines, and counts by outcome.

    It is not safe for several threads: the caller holds a lock.
    """

    def __init__(self) -> None:
        self.submitted = self.late = 0
        self._outcomes = dict.fromkeys(OUTCOMES, 0)
        self._pending: dict[int, ShadowRequest] = {}

    def add(self, request: ShadowRequest) -> None:
        """Add a pending request. Deadlines never decrease, since the clock does not and the time-out is constant."""
        self._pending[request.number] = request

    def settle(self, request: ShadowRequest, error: str | None) -> bool:
        """Give a pending request its outcome, and return False if it has one already.

        Args:
            error: The `error` of its prediction; None if it was answered.
        """
        if not self.is_pending(request):
            return False
        del self._pending[request.number]
        request.features = None
        self.count(error)
        return True

    def count(self, error: str | None) -> None:
        """Count an outcome, directly for a request that is never pending.

        Args:
            error: The `error` of its prediction; None if it was answered.
        """
        outcome = ANSWERED if error is None else error if error in _RESERVED else ERROR
        self._outcomes[outcome] += 1

    def is_pending(self, request: ShadowRequest) -> bool:
        """Whether a request has no outcome yet."""
        return self._pending.get(request.number) is request

    @property
    def pending(self) -> Iterator[ShadowRequest]:
        """The pending requests, those with the earliest deadline first."""
        return iter(self._pending.values())

    @property
    def n_pending(self) -> int:
        """How many requests are pending."""
        return len(self._pending)

    @property
    def stats(self) -> ShadowStats:
        """The counts so far."""
        return ShadowStats(
            submitted=self.submitted, outcomes=dict(self._outcomes), pending=self.n_pending, late=self.late
        )
