"""The life cycle of a processor: signals, exit codes, logging, memory settings."""

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

from barograph_server.streams.errors import ProcessorError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOP_S = 8.0
"""How long a processor may take to stop: less than the ten seconds that orchestrators allow."""
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
"""Constants of glibc's malloc.h."""
_LARGE_BYTES = 4 << 20
EXIT_OK = 0
EXIT_STUCK = 70
"""The watchdog ended the process because it was stuck."""
EXIT_STOPPED = 1
"""The processor stopped with an error. Its supervisor restarts it."""


def configure_logging(level: str = "info") -> None:
    """Log one JSON line per event to standard error."""
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
    """Exclude all current objects, mainly modules, from garbage collection.

    The collector would otherwise traverse some hundred thousand objects every few batches of messages.
    """
    gc.freeze()


def use_single_malloc_arena() -> None:
    """Make all threads, and Arrow, allocate from one malloc arena of glibc. Call it before any thread starts.

    By default threads get arenas of their own, which keep their peak size. One arena suits a process in which one
    thread does the work: several would wait for each other. Large blocks return to the system when they are freed.
    Without glibc this does nothing.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(OSError, AttributeError):
        glibc = ctypes.CDLL(None)
        glibc.mallopt(_M_ARENA_MAX, 1)
        # By default glibc raises this threshold over time and keeps ever larger free blocks.
        glibc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


class ShutdownSignal:
    """Receives SIGTERM and SIGINT on a thread of its own, and ends the process in time.

    Python runs signal handlers in the main thread, once a blocking call there returns. This thread therefore reads the
    signals from the wakeup file descriptor: it sets `requested`, calls the hooks, and ends the process after `stop_s`
    even if the work still waits for a server. An error that ends a thread also ends the process. Work that was not
    committed is done again by the next start, as after a kill.
    """

    def __init__(
        self,
        kind: str,
        instance: str,
        *,
        stop_s: float = STOP_S,
        end: Callable[[int], None] = os._exit,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Install the handlers; call this in the main thread."""
        self.requested = threading.Event()
        """Set once the process is requested to stop."""
        self._log = structlog.get_logger().bind(processor=kind, instance=instance)
        self._stop_s, self._end, self._sleep = stop_s, end, sleep
        self._hooks: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._signals, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        threading.excepthook = self._end_by_error
        threading.Thread(target=self._run, name="signals", daemon=True).start()

    def add_hook(self, hook: Callable[[], object]) -> None:
        """Call a function as soon as the process is requested to stop; at once if it already was."""
        with self._lock:
            if not self.requested.is_set():
                self._hooks.append(hook)
                return
        hook()

    def _end_by_error(self, failure: threading.ExceptHookArgs) -> None:
        thread = failure.thread and failure.thread.name
        self._log.error("stopped", reason=f"error in thread {thread}", exc_info=failure.exc_value)
        if not self.requested.is_set():
            self._end(EXIT_STOPPED)

    def _run(self) -> None:
        number = 0
        while number not in SIGNALS:
            number = os.read(self._signals, 1)[0]
        self._log.info("stopping", signal=signal.Signals(number).name)
        with self._lock:
            self.requested.set()
        # This thread outlives the work, and must not keep alive what a hook refers to.
        while self._hooks:
            with suppress(Exception):
                self._hooks.pop(0)()
        self._sleep(self._stop_s)
        self._log.warning(
            "stopped", reason=f"requested; work that a server did not confirm within {self._stop_s:.0f} s is done again"
        )
        self._end(EXIT_OK)


def run_until_signal(kind: str, instance: str, work: Callable[[ShutdownSignal], int | None]) -> int:
    """Run a processor until SIGTERM or SIGINT, and return its exit code.

    Args:
        work: runs until a stop is requested; raises to stop with a non-zero exit code, or returns one.
    """
    log = structlog.get_logger().bind(processor=kind, instance=instance)
    shutdown = ShutdownSignal(kind, instance)
    log.info("started")
    code: int | None
    try:
        code = work(shutdown)
    except ProcessorError as error:
        if not shutdown.requested.is_set():
            log.error("stopped", reason=str(error))
            return EXIT_STOPPED
        # A server failed during the stop, which the next start may meet again.
        log.warning("failed while stopping", reason=str(error))
        code = EXIT_OK
    except Exception as error:
        log.exception("stopped", reason=f"{type(error).__name__}: {error}")
        return EXIT_STOPPED
    if code:
        # The error was logged where it happened.
        log.error("stopped", exit=code)
        return code
    log.info("stopped", reason="requested")
    return EXIT_OK
