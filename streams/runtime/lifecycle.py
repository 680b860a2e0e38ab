"""How a processor lives: signals, exit codes, logs."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from streams.errors import ProcessorError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOP_S = 8.0
"""How long a processor may take to end after it was asked to: below the ten seconds that orchestrators allow."""
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
"""Of glibc's malloc.h."""
_LARGE_BYTES = 4 << 20
EXIT_OK = 0
EXIT_STUCK = 70
"""Ended by itself because it stood still."""
EXIT_STOPPED = 1
"""Stopped by an error that a person must see; whoever supervises the processor starts it again."""


def configure_logging(level: str = "info") -> None:
    """Write one JSON line per lifecycle event to standard error."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def freeze_heap() -> None:
    """Take what is in memory so far, modules above all, for what stays: the collector of cycles passes over it.

    It would walk through some hundred thousand objects again for every few batches of messages.
    """
    gc.freeze()


def use_single_malloc_arena() -> None:
    """Let all threads, and Arrow, take memory from one heap of glibc's; to be called before there are any threads.

    Each thread that finds the others busy would else have a heap of its own, and keep what it once needed for
    itself. This is for processes whose work is one thread's: others would wait for one another. What is large goes back
    to the system when it is let go. Without glibc nothing happens.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(OSError, AttributeError):
        glibc = ctypes.CDLL(None)
        glibc.mallopt(_M_ARENA_MAX, 1)
        # By default glibc keeps ever larger pieces, in between of which little else fits.
        glibc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


class ShutdownSignal:
    """Waits for SIGTERM and SIGINT on a thread of its own, and sees to it that the process ends in time.

    What Python does at a signal it does in the main thread, once that comes back from whatever it waits for. So this
    thread reads the signals from the file that the system's handler writes them to: first everybody is told; who then
    still waits for a server is not waited for. What was under way is not committed, and is done again by the next
    start, as after a kill.
    """

    def __init__(
        self, kind: str, instance: str, *, stop_s: float = STOP_S, end: Callable[[int], None] = os._exit
    ) -> None:
        """Take the signals from now on; to be made in the main thread.

        Args:
            kind: `sketcher`, `recorder`, `monitor` or `scorer`.
            instance: its stable name.
            stop_s: how long the work may take to end.
            end: ends the process.
        """
        self.requested = threading.Event()
        """Set once the process was asked to end."""
        self._log = structlog.get_logger().bind(processor=kind, instance=instance)
        self._stop_s, self._end = stop_s, end
        self._at_once: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._signals, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._run, name="signals", daemon=True).start()

    def add_hook(self, hook: Callable[[], object]) -> None:
        """Have something called as soon as the process is asked to end; at once where it was already."""
        with self._lock:
            if not self.requested.is_set():
                self._at_once.append(hook)
                return
        hook()

    def _run(self) -> None:
        number = 0
        while number not in SIGNALS:
            number = os.read(self._signals, 1)[0]
        self._log.info("stopping", signal=signal.Signals(number).name)
        with self._lock:
            self.requested.set()
        for hook in self._at_once:
            with suppress(Exception):
                hook()
        time.sleep(self._stop_s)
        # The process still lives.
        self._log.warning(
            "stopped", reason=f"asked to; what a server had not answered after {self._stop_s:.0f} s is done again"
        )
        self._end(EXIT_OK)


def run_until_signal(kind: str, instance: str, work: Callable[[ShutdownSignal], int | None]) -> int:
    """Run a processor until SIGTERM or SIGINT, and return its exit code.

    Args:
        kind: `sketcher`, `recorder`, `monitor` or `scorer`.
        instance: its stable name.
        work: runs until it is asked to end; raises to stop with a non-zero exit, or returns an exit code.
    """
    log = structlog.get_logger().bind(processor=kind, instance=instance)
    stopping = ShutdownSignal(kind, instance)
    log.info("started")
    code: int | None
    try:
        code = work(stopping)
    except ProcessorError as error:
        if not stopping.requested.is_set():
            log.error("stopped", reason=str(error))
            return EXIT_STOPPED
        # A server that failed meanwhile: the next start meets it again, or not.
        log.warning("failed while stopping", reason=str(error))
        code = EXIT_OK
    except Exception as error:
        log.exception("stopped", reason=f"{type(error).__name__}: {error}")
        return EXIT_STOPPED
    if code:
        # Why was said where it happened.
        log.error("stopped", exit=code)
        return code
    log.info("stopped", reason="asked to")
    return EXIT_OK
