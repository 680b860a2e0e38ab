"""Workers that await a candidate that is a coroutine function, on an event loop of their own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from barograph.shadow.answer import CandidateResult, await_candidate, failed_call
from barograph.shadow.request import SETTLED, ShadowRequest
from barograph.shadow.request_tracker import RequestTracker

_LOG = logging.getLogger("barograph")


class EventLoopWorkers:
    """Coroutines with one queue, on an event loop in a daemon thread.

    The loop is not the caller's: a candidate that computes between two awaits would block every request that the
    caller's loop serves. A call that is abandoned is cancelled. At the end, a candidate with a coroutine method
    `aclose` is closed.
    """

    ends_calls = True

    def __init__(
        self,
        candidate: Callable[[Any], Awaitable[Any]],
        tracker: RequestTracker,
        n_workers: int,
        timer_ns: Callable[[], int],
    ) -> None:
        """Start the thread.

        Args:
            n_workers: How many calls are awaited at the same time.
        """
        self._candidate, self._tracker, self._timer_ns = candidate, tracker, timer_ns
        self._n_workers = n_workers
        self._queue: asyncio.Queue[ShadowRequest] = asyncio.Queue()
        self._calls: dict[int, asyncio.Task[CandidateResult]] = {}
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, name="barograph-shadow-loop", daemon=True).start()

    def put(self, request: ShadowRequest) -> None:
        """Queue a request."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, request)

    def abandon(self, request: ShadowRequest) -> None:
        self._loop.call_soon_threadsafe(self._cancel, request.number)

    def stop(self) -> None:
        """Cancel all calls and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _cancel(self, number: int) -> None:
        call = self._calls.get(number)
        if call is not None:
            call.cancel()

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        workers = [loop.create_task(self._work()) for _ in range(self._n_workers)]
        try:
            loop.run_forever()
        finally:
            tasks = [*workers, *self._calls.values()]
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, self._close_candidate(), return_exceptions=True))
            loop.close()

    async def _close_candidate(self) -> None:
        # Such as the HTTP session of a candidate, which belongs to this loop.
        if hasattr(self._candidate, "aclose"):
            try:
                await self._candidate.aclose()
            except Exception:
                _LOG.exception("the candidate of a shadow could not be closed")

    async def _work(self) -> None:
        while True:
            request = await self._queue.get()
            features = self._tracker.begin(request)
            if features is SETTLED:
                continue
            # A task of its own: cancelling the call must not end the worker.
            call = asyncio.ensure_future(await_candidate(self._candidate, features, self._timer_ns))
            self._calls[request.number] = call
            await asyncio.wait((call,))
            del self._calls[request.number]
            self._tracker.finish(request, _result(call))
            del request, features, call


def _result(call: asyncio.Task[CandidateResult]) -> CandidateResult:
    # A task that is cancelled before its first step has no result of its own.
    return failed_call(asyncio.CancelledError.__name__) if call.cancelled() else call.result()
