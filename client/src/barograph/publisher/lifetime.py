"""Publishers at the edges of a process: its end, and its forks.

A process that ends delivers what its publishers still hold, within a bounded time. A forked child inherits
publishers whose threads do not exist in it; each begins anew there.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import time
from typing import Protocol

EXIT_FLUSH_S = 5.0
"""How long the end of a process may wait for events that are still queued, over all publishers."""


class Watched(Protocol):
    """What is closed at the end of its process and told of a fork."""

    def close(self, timeout_s: float) -> int: ...
    def after_fork(self) -> None: ...


_LIVE: list[Watched] = []


def watch(publisher: Watched) -> None:
    """Close it when the process ends, and tell it when it finds itself in a forked child."""
    _LIVE.append(publisher)


def unwatch(publisher: Watched) -> None:
    """Forget it; it was closed."""
    with contextlib.suppress(ValueError):
        _LIVE.remove(publisher)


def close_at_end(publisher: Watched) -> None:
    """See to its end in a child of `multiprocessing`, which ends without `atexit` but with finalizers."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, publisher.close, args=(EXIT_FLUSH_S,), exitpriority=0)


def never_free(inherited: object) -> None:
    """Keep a producer that a fork left without its threads until the process ends.

    Freeing it, at the interpreter's end too, would have librdkafka take locks that another thread may have held at
    the fork, and join threads that do not exist here; so it gets a reference that nobody gives back.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def _close_all() -> None:
    deadline_s = time.monotonic() + EXIT_FLUSH_S
    for publisher in tuple(_LIVE):
        with contextlib.suppress(Exception):
            publisher.close(max(0.0, deadline_s - time.monotonic()))


def _after_fork_all() -> None:
    for publisher in _LIVE:
        publisher.after_fork()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_all)
