"""Signals that end commands."""

from __future__ import annotations

import signal
import threading

from barograph_server.signal_wait import SIGNALS, set_on_signal


def test_a_signal_that_interrupts_a_wait_with_its_lock_held_ends_it() -> None:
    before = {each: signal.getsignal(each) for each in SIGNALS}
    stop = threading.Event()
    set_on_signal(stop)
    try:
        with stop._cond:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)
        assert stop.wait(10)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
