"""Requests to stop a processor."""

from __future__ import annotations

import os
import signal
from queue import Queue

from barograph_server.streams.runtime.lifecycle import EXIT_OK, SIGNALS, ShutdownSignal


def test_hooks_are_called_at_the_signal_or_at_once_after_it() -> None:
    calls: list[str] = []
    codes: Queue[int] = Queue()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        shutdown = ShutdownSignal("sketcher", "s-1", end=codes.put, sleep=lambda _: None)
        shutdown.add_hook(lambda: calls.append("early"))
        os.kill(os.getpid(), signal.SIGTERM)
        assert codes.get(timeout=60) == EXIT_OK
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (calls, shutdown.requested.is_set()) == (["early"], True)
    shutdown.add_hook(lambda: calls.append("late"))
    assert calls == ["early", "late"]
