"""Workers that call the candidate in threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from barograph.shadow.answer import call_candidate
from barograph.shadow.request import SETTLED, ShadowRequest
from barograph.shadow.request_tracker import RequestTracker


class ThreadWorkers:
    """Daemon threads with one queue. Python cannot end a thread, so a call that hangs occupies its thread.

    The shadow bounds the queue: it counts the requests that are queued or running here.
    """

    ends_calls = False

    def __init__(
        self, candidate: Callable[[Any], Any], tracker: RequestTracker, n_workers: int, timer_ns: Callable[[], int]
    ) -> None:
        """Start the threads, which fetch input from the tracker and hand in results."""
        self._candidate, self._tracker, self._timer_ns = candidate, tracker, timer_ns
        self._queue: SimpleQueue[ShadowRequest | None] = SimpleQueue()
        self._n_workers = n_workers
        try:
            for i in range(n_workers):
                threading.Thread(target=self._work, name=f"barograph-shadow-{i}", daemon=True).start()
        except RuntimeError:  # the system has no more threads
            self.stop()
            raise

    def put(self, request: ShadowRequest) -> None:
        """Queue a request."""
        self._queue.put(request)

    def abandon(self, request: ShadowRequest) -> None:
        """Do nothing: a thread ends only by itself."""

    def stop(self) -> None:
        """End each thread after its call."""
        for _ in range(self._n_workers):
            self._queue.put(None)

    def _work(self) -> None:
        while (request := self._queue.get()) is not None:
            features = self._tracker.begin(request)
            if features is not SETTLED:
                self._tracker.finish(request, call_candidate(self._candidate, features, self._timer_ns))
            # The next wait must not keep the objects of this request alive.
            del request, features
