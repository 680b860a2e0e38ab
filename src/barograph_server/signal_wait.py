"""Ends commands that run until Ctrl-C or SIGTERM."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def set_on_signal(stop: threading.Event) -> None:
    """Set an event on Ctrl-C or SIGTERM; call this in the main thread.

    A thread sets it: a handler that interrupts `stop.wait` would wait for the lock that the interrupted wait holds.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: threading.Thread(target=stop.set, daemon=True).start())


@contextmanager
def wait_for_signal() -> Iterator[Callable[[], None]]:
    """Yield a function that waits for Ctrl-C or SIGTERM; both then end the wait instead of interrupting."""
    stopping = threading.Event()
    before = {each: signal.getsignal(each) for each in SIGNALS}
    set_on_signal(stopping)

    def wait() -> None:
        # With a timeout, so that Python runs the handlers of signals.
        while not stopping.wait(0.5):
            pass

    try:
        yield wait
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
