"""How a processor lives: signals, exit codes, logs."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

import structlog

EXIT_OK = 0
EXIT_STUCK = 70
"""Ended by itself because it stood still."""
EXIT_STOPPED = 1
"""Stopped by an error that a person must see; whoever supervises the processor starts it again."""


class ProcessorError(Exception):
    """Neither a bad event nor a busy sink: the processor stops, and the message says what to do."""


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


def run_until_signal(kind: str, instance: str, work: Callable[[threading.Event], None]) -> int:
    """Run a processor until SIGTERM or SIGINT, and return its exit code.

    Args:
        kind: `sketcher`, `recorder`, `monitor` or `scorer`.
        instance: its stable name.
        work: runs until the event that it is given is set; raises to stop with a non-zero exit.
    """
    log = structlog.get_logger().bind(processor=kind, instance=instance)
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    log.info("started")
    try:
        work(stop)
    except ProcessorError as error:
        log.error("stopped", reason=str(error))
        return EXIT_STOPPED
    except Exception as error:
        log.exception("stopped", reason=f"{type(error).__name__}: {error}")
        return EXIT_STOPPED
    log.info("stopped", reason="asked to")
    return EXIT_OK
