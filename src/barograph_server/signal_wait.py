"""Waits for Ctrl-C in commands that serve until then."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def wait_for_signal() -> Iterator[Callable[[], None]]:
    """Yield a function that waits for Ctrl-C or SIGTERM; both then end the wait instead of interrupting."""
    stopping = threading.Event()
    before = {each: signal.signal(each, lambda *_: stopping.set()) for each in (signal.SIGINT, signal.SIGTERM)}

    def wait() -> None:
        # With a timeout, so that Python runs the handlers of signals.
        while not stopping.wait(0.5):
            pass

    try:
        yield wait
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
