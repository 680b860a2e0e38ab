"""Admits and settles requests: each gets exactly one outcome, which the first report decides.

Three kinds of threads report: those that submit, the workers, and the timer. All state is changed under one lock, which
is never held while something is called that takes long; predictions are published after its release.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from barograph.events import ShadowReason
from barograph.shadow.answer import CandidateResult, failed_call
from barograph.shadow.breaker import BreakerState, CircuitBreaker
from barograph.shadow.request import SETTLED, ShadowRequest

_LOG = logging.getLogger("barograph")


class RequestTracker:
    """Admits requests, hands them to workers, and settles them."""

    def __init__(
        self,
        publish: Callable[[ShadowRequest, CandidateResult], None],
        breaker: CircuitBreaker,
        budget: RequestBudget | None,
        *,
        timeout_s: float,
        max_pending: int,
        n_workers: int,
        ends_calls: bool,
        clock: Callable[[], float],
        name: str,
    ) -> None:
        """Start without requests.

        Args:
            publish: Publishes the outcome of a request; it does not block.
            budget: The budget of requests per minute; None without limit.
            timeout_s: Time from the admission of a request to its deadline (s).
            max_pending: The most requests that are queued or running.
            n_workers: How many calls run at the same time.
            ends_calls: Whether workers can end a call, so that none hangs.
            clock: Returns seconds that never go back.
            name: Names the shadow in the log.
        """
        self._publish = publish
        self._breaker, self._budget = breaker, budget
        self._timeout_s, self._max_pending, self._n_workers = timeout_s, max_pending, n_workers
        self._ends_calls = ends_calls
        self._clock = clock
        self._name = name
        # Its RLock lets a signal handler close the tracker while the code that it interrupted holds the lock.
        self._lock = threading.Condition(threading.RLock())
        self._expire_lock = threading.Lock()
        self._requests = PendingRequests()
        self._closed = False
        self._n_in_workers = self._n_hung = self._n_unpublished = 0
        self._logged_state: BreakerState = breaker.state

    def admit(self, request: ShadowRequest, features: Any) -> bool:
        """Make a request pending, so that workers may begin it; otherwise settle it, and return False."""
        with self._lock:
            reason = self._refusal()
            self._requests.submitted += 1
            if reason is not None:
                self._requests.count(reason)
                self._n_unpublished += 1
            else:
                request.number = self._requests.submitted
                request.features = features
                request.is_trial = self._breaker.admit()
                request.deadline_s = self._clock() + self._timeout_s
                self._requests.add(request)
                self._n_in_workers += 1
        if reason is not None:
            self._publish_outcome(request, failed_call(reason))
        return reason is None

    def _refusal(self) -> str | None:
        if self._closed:
            return ShadowReason.CLOSED.value
        if not self._breaker.allows:
            return ShadowReason.SKIPPED_BREAKER.value
        if self._n_in_workers >= self._max_pending:
            return ShadowReason.SKIPPED_QUEUE.value
        if self._budget is not None and not self._budget.take(self._clock()):
            return ShadowReason.SKIPPED_BUDGET.value
        return None

    def refuse(self, request: ShadowRequest, error: str) -> None:
        """Settle a new request that is not for the candidate; the `error` of its prediction says why."""
        with self._lock:
            if self._closed:
                error = ShadowReason.CLOSED.value
            self._requests.submitted += 1
            self._requests.count(error)
            self._n_unpublished += 1
        self._publish_outcome(request, failed_call(error))

    def begin(self, request: ShadowRequest) -> Any:
        """Return the features of a request for its call, or `SETTLED` if it needs none any more."""
        with self._lock:
            if not self._requests.is_pending(request):
                self._n_in_workers -= 1
                return SETTLED
            request.is_started = True
            features, request.features = request.features, None
            return features

    def finish(self, request: ShadowRequest, result: CandidateResult) -> None:
        """Settle an admitted request by the result of its call. A result that is late is counted and dropped."""
        with self._lock:
            self._n_in_workers -= 1
            self._n_hung -= request.is_hung
            is_settled = self._settle(request, result.error)
            if is_settled:
                self._breaker.record(failed=result.error is not None, is_trial=request.is_trial, now_s=self._clock())
            elif request.is_started and not request.is_abandoned:
                self._requests.late += 1
        if is_settled:
            self._log_state()
            self._publish_outcome(request, result)

    def expire(self) -> list[ShadowRequest]:
        """Settle the requests whose deadline has passed, and end the breaker's pause when it is over.

        Returns:
            Those of them whose call is running, for workers that can end calls.
        """
        running: list[ShadowRequest] = []
        # Two threads never expire at the same time, so that everything due is published when a caller returns.
        with self._expire_lock:
            now_s = self._clock()
            with self._lock:
                due = []
                for request in self._requests.pending:
                    if request.deadline_s > now_s:
                        break
                    due.append(request)
            for request in due:
                with self._lock:
                    is_settled = self._settle(request, ShadowReason.TIMEOUT.value)
                    if is_settled:
                        self._record_timeout(request, now_s)
                if is_settled:
                    self._publish_outcome(request, failed_call(ShadowReason.TIMEOUT.value))
                    if request.is_abandoned:
                        running.append(request)
            with self._lock:
                if self._n_hung < self._n_workers:
                    self._breaker.end_pause(now_s)
            self._log_state()
        return running

    def _record_timeout(self, request: ShadowRequest, now_s: float) -> None:
        # A request that was only queued says nothing about the candidate, but a trial must end.
        if request.is_started or request.is_trial:
            self._breaker.record(failed=True, is_trial=request.is_trial, now_s=now_s)
        if request.is_started:
            request.is_abandoned = self._ends_calls
            request.is_hung = not self._ends_calls
            self._n_hung += request.is_hung
            if self._n_hung >= self._n_workers:
                self._breaker.open(now_s)

    def _settle(self, request: ShadowRequest, error: str | None) -> bool:
        is_settled = self._requests.settle(request, error)
        self._n_unpublished += is_settled
        return is_settled

    def _publish_outcome(self, request: ShadowRequest, result: CandidateResult) -> None:
        """Publish the outcome of a request that was settled, without holding the lock."""
        try:
            self._publish(request, result)
        finally:
            with self._lock:
                self._n_unpublished -= 1
                if self._closed:
                    self._lock.notify_all()

    def close(self, timeout_s: float) -> list[ShadowRequest]:
        """Refuse further requests, wait for the pending ones, settle those that are left, and return these."""
        with self._lock:
            self._closed = True
            # The publisher may be closed next, so that a request which is settled must be published, too.
            self._lock.wait_for(lambda: self._requests.n_pending == self._n_unpublished == 0, timeout_s)
            left = list(self._requests.pending)
            for request in left:
                self._settle(request, ShadowReason.CLOSED.value)
                request.is_abandoned = request.is_started and self._ends_calls
        for request in left:
            self._publish_outcome(request, failed_call(ShadowReason.CLOSED.value))
        return left

    def seconds_to_deadline(self) -> float:
        """Time until the next deadline; without pending requests the time-out, since the next one is later (s)."""
        with self._lock:
            request = next(self._requests.pending, None)
            return self._timeout_s if request is None else max(0.0, request.deadline_s - self._clock())

    def _log_state(self) -> None:
        with self._lock:
            state, has_changed = self._breaker.state, self._breaker.state != self._logged_state
            self._logged_state = state
        if has_changed:
            _LOG.warning("the circuit breaker of shadow %s is %s", self._name, state)

    @property
    def state(self) -> BreakerState:
        """The state of the circuit breaker."""
        return self._breaker.state

    @property
    def stats(self) -> ShadowStats:
        """The counts of all requests so far."""
        with self._lock:
            return self._requests.stats


class RequestBudget:
    """A token bucket that holds the tokens of one second, but at least one.

    It is not safe for several threads: the caller holds a lock.
    """

    def __init__(self, max_per_minute: float, now_s: float) -> None:
        """Fill the bucket."""
        self._per_s = max_per_minute / 60
        self._capacity = max(1.0, self._per_s)
        self._tokens, self._filled_s = self._capacity, now_s

    def take(self, now_s: float) -> bool:
        """Take one token, and return whether there was one."""
        self._tokens = min(self._capacity, self._tokens + (now_s - self._filled_s) * self._per_s)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


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
        """Give a pending request its outcome (no error: answered), and return False if it has one already."""
        if not self.is_pending(request):
            return False
        del self._pending[request.number]
        request.features = None
        self.count(error)
        return True

    def count(self, error: str | None) -> None:
        """Count an outcome (no error: answered), directly for a request that is never pending."""
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
        return len(self._pending)

    @property
    def stats(self) -> ShadowStats:
        """The counts so far."""
        return ShadowStats(
            submitted=self.submitted, outcomes=dict(self._outcomes), pending=self.n_pending, late=self.late
        )
