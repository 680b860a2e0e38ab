"""A candidate beside the primary: it receives the same requests, and its answers are only published."""

from __future__ import annotations

import copy
import inspect
import time
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, Self

from barograph.events import SHADOW, ShadowReason
from barograph.publisher.lifetime import EXIT_FLUSH_S
from barograph.publisher.publisher import Publisher, version_fault
from barograph.shadow.answer import CandidateResult, error_name
from barograph.shadow.breaker import BreakerState, CircuitBreaker
from barograph.shadow.request import ShadowRequest, Workers
from barograph.shadow.request_tracker import RequestBudget, RequestTracker, ShadowStats
from barograph.shadow.service import ShadowService
from barograph.shadow.threads import ThreadWorkers
from barograph.values import event_id

Executor = Literal["threads", "processes"]


class Shadow:
    """Runs a candidate on the requests of the primary, in the serving process and off the request path.

    For each submitted request one prediction with the role `shadow` is published: the candidate's answer, or in `error`
    the reason why there is none. It has the candidate's version and latency, the request's id and context, the time of
    `submit`, and no features, which the primary's prediction has.

    A shadow may be shared between threads and used after a fork. Use it as a context manager, or call `close` before
    the publisher is closed; a process that exits without either waits up to five seconds.
    """

    def __init__(
        self,
        publisher: Publisher,
        candidate: Callable[[Any], Any],
        *,
        version: str,
        of: str | None = None,
        sample: float = 1.0,
        timeout_ms: float = 200.0,
        workers: int = 2,
        max_pending: int = 1_000,
        max_per_minute: float | None = None,
        executor: Executor = "threads",
        max_rss_mb: float | None = None,
        copy_input: bool = True,
        failure_share: float = 0.5,
        failure_calls: int = 20,
        pause_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        timer_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Configure a shadow. Its workers start at the first request.

        Args:
            publisher: The primary's publisher, with `on_full="drop"`.
            candidate: Called with the features of a request. It returns its score as a number, or `score`, `class_`,
                `scores` and `metrics` (at least one of them) as the keys of a mapping or the attributes of an object. A
                coroutine function is awaited on an event loop in a thread of its own, and its coroutine method `aclose`
                at the end.
            of: The primary's version; the publisher's by default.
            sample: The share of requests that the candidate receives, in (0, 1], chosen by the CRC-32 of the id like
                the contract's `raw: {share: …}`.
            timeout_ms: Longest time from `submit` to the answer, with the time in the queue (ms).
            workers: How many calls run at the same time.
            max_pending: The most requests that are queued or running.
            max_per_minute: The most requests per minute that the candidate receives, as a token bucket; not limited by
                default.
            executor: `threads`; or `processes`, for a candidate that can be pickled. A process whose call exceeds its
                time is replaced. Not used for coroutine functions.
            max_rss_mb: A process whose resident memory is larger after a call (MiB) is replaced; not limited by
                default. Only with `executor="processes"`.
            copy_input: Whether the candidate receives a shallow copy of the features. Without it, a change of the input
                is seen by both.
            failure_share: The breaker opens if at least this share of the latest calls failed (exceptions, wrong
                output, time-outs of calls), in (0, 1]. It also opens while calls that exceed their time occupy all
                threads.
            failure_calls: How many calls these are.
            pause_s: How long the breaker stays open before it admits one request as a trial (s).
            clock: Returns seconds that never go back; measures deadlines, budget and pause.
            wall_clock_ns: Returns nanoseconds since the Unix epoch; the time of events.
            timer_ns: Returns nanoseconds that never go back; measures latency, except in processes.

        Raises:
            ValueError: An argument is out of range, the candidate has the primary's version or cannot be pickled for
                `processes`, or the publisher has `on_full="wait"`.
        """
        primary = publisher.version if of is None else of
        fault = version_fault(version)
        if fault is not None:
            raise ValueError(f"version {fault}")
        if version == primary:
            raise ValueError(f"version and of are both {version!r}; give the candidate a version of its own")
        if publisher.on_full != "drop":
            raise ValueError('the publisher has on_full="wait" and would block requests; pass one with on_full="drop"')
        for name, value, is_valid, expected in (
            ("sample", sample, 0 < sample <= 1, "a share in (0, 1]"),
            ("timeout_ms", timeout_ms, 0 < timeout_ms < float("inf"), "a positive number"),
            ("workers", workers, _is_count(workers), "a whole number from 1"),
            ("max_pending", max_pending, _is_count(max_pending), "a whole number from 1"),
            ("max_per_minute", max_per_minute, max_per_minute is None or max_per_minute > 0, "a positive number"),
            ("executor", executor, executor in ("threads", "processes"), "threads or processes"),
            ("max_rss_mb", max_rss_mb, max_rss_mb is None or max_rss_mb > 0, "a positive number"),
            ("failure_share", failure_share, 0 < failure_share <= 1, "a share in (0, 1]"),
            ("failure_calls", failure_calls, _is_count(failure_calls), "a whole number from 1"),
            ("pause_s", pause_s, pause_s >= 0, "0 or more"),
        ):
            if not is_valid:
                raise ValueError(f"{name} is {value!r}; pass {expected}")
        self._publisher = publisher
        self._version = version
        self._hash_limit = sample * 2**32
        self._copy_input = copy_input
        self._wall_clock_ns = wall_clock_ns
        start_workers, ends_calls = _choose_workers(candidate, executor, max_rss_mb)

        def make_tracker() -> RequestTracker:
            return RequestTracker(
                self._publish,
                CircuitBreaker(failure_share, failure_calls, pause_s),
                None if max_per_minute is None else RequestBudget(max_per_minute, clock()),
                timeout_s=timeout_ms / 1000,
                max_pending=max_pending,
                n_workers=workers,
                ends_calls=ends_calls,
                clock=clock,
                name=f"{version} of {primary}",
            )

        self._service = ShadowService(
            make_tracker, lambda tracker: start_workers(candidate, tracker, workers, timer_ns)
        )

    def submit(self, *, id: str, features: Any, context: Mapping[str, str | None] | None = None) -> None:
        """Queue a request for the candidate and return at once. Nothing is raised.

        Call it once for each request, after the primary's answer has left, with the id and context of its prediction:
        the same id twice makes two predictions.
        """
        request = ShadowRequest(id, context, self._wall_clock_ns() // 1_000_000)
        try:
            if zlib.crc32(event_id(id).encode()) >= self._hash_limit:
                self._service.tracker.refuse(request, ShadowReason.SKIPPED_SAMPLE.value)
                return
            if context is not None:
                request.context = dict(context)  # it is published later
            if self._copy_input:
                features = copy.copy(features)
        except Exception as problem:  # no usable id, or values that cannot be copied
            self._service.tracker.refuse(request, error_name(problem))
            return
        self._service.submit(request, features)

    def _publish(self, request: ShadowRequest, result: CandidateResult) -> None:
        self._publisher.prediction(
            id=request.id,
            version=self._version,
            role=SHADOW,
            at=request.at_ms,
            context=request.context,
            error=result.error,
            latency_ms=result.latency_ms,
            **result.members,
        )

    def close(self, timeout_s: float = EXIT_FLUSH_S) -> int:
        """Wait for pending requests, and return how many had to be published as `shadow-closed`.

        Later requests are published as `shadow-closed`, too.

        Args:
            timeout_s: The longest wait for pending requests (s); `timeout_ms` suffices.
        """
        return self._service.close(timeout_s)

    @property
    def state(self) -> BreakerState:
        """The state of the circuit breaker: `closed` (requests pass), `open` (none does), `half-open` (one trial)."""
        return self._service.tracker.state

    @property
    def stats(self) -> ShadowStats:
        """Counts of this process's requests so far, by outcome."""
        return self._service.tracker.stats

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _choose_workers(
    candidate: Callable[[Any], Any], executor: Executor, max_rss_mb: float | None
) -> tuple[Callable[..., Workers], bool]:
    """Return what starts the workers, and whether they can end calls; import it now, not during the first request."""
    is_async = inspect.iscoroutinefunction(candidate) or inspect.iscoroutinefunction(type(candidate).__call__)
    if max_rss_mb is not None and (is_async or executor != "processes"):
        raise ValueError(f"max_rss_mb is {max_rss_mb!r}, but the candidate runs in this process; remove it")
    if is_async:
        from barograph.shadow.event_loop import EventLoopWorkers

        return EventLoopWorkers, EventLoopWorkers.ends_calls
    if executor == "processes":
        from barograph.shadow.processes import ProcessWorkers, check_picklable

        check_picklable(candidate)
        return partial(ProcessWorkers, max_rss_mb=max_rss_mb), ProcessWorkers.ends_calls
    return ThreadWorkers, ThreadWorkers.ends_calls
