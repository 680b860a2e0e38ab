"""Publishers at process exit and after a fork.

At exit, a process delivers the events that its publishers still queue, within a bounded time. A forked child inherits
publishers without their threads; each starts over in the child.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

EXIT_FLUSH_S = 5.0
"""How long the exit of a process may wait for queued events, over all publishers."""


class ProcessBound(Protocol):
    """An object to close at process exit and to reset after a fork."""

    def close(self, timeout_s: float) -> int: ...
    def after_fork(self) -> None: ...


_LIVE: list[ProcessBound] = []


def register(outbox: ProcessBound) -> None:
    """Close an outbox when the process exits, and reset it in forked children."""
    _LIVE.append(outbox)


def unregister(outbox: ProcessBound) -> None:
    with contextlib.suppress(ValueError):
        _LIVE.remove(outbox)


def close_at_exit(outbox: ProcessBound, priority: int = 0) -> None:
    """Close an outbox at the exit of a `multiprocessing` child, which runs finalizers but not `atexit`.

    Args:
        outbox: The outbox, or what publishes to one.
        priority: Higher ones are closed first.
    """
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, outbox.close, args=(EXIT_FLUSH_S,), exitpriority=priority)


def leak(producer: object) -> None:
    """Keep a producer that a fork left without its threads alive until the process ends.

    Freeing it, even at interpreter exit, makes librdkafka take locks that another thread may have held at the fork and
    join threads that do not exist in this process. The extra reference is never released.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(producer))


def _close_all(clock: Callable[[], float] = time.monotonic) -> None:
    deadline_s = clock() + EXIT_FLUSH_S
    # What publishes to an outbox was registered after it and is closed before it.
    for outbox in reversed(_LIVE.copy()):
        with contextlib.suppress(Exception):
            outbox.close(max(0.0, deadline_s - clock()))


def _reset_all_after_fork() -> None:
    for outbox in _LIVE:
        outbox.after_fork()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all_after_fork)
