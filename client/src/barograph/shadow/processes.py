"""Workers that call the candidate in processes of their own, which can be ended while they hang.

Objects pass, pickled by `multiprocessing`, through anonymous pipes between this process and its own children only.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from barograph.shadow.answer import CandidateResult, call_candidate, error_name, failed_call
from barograph.shadow.request import SETTLED, ShadowRequest
from barograph.shadow.request_tracker import RequestTracker
from barograph.shadow.threads import ThreadWorkers

START_TIMEOUT_S = 60.0
"""How long a process may take to import the candidate's modules and to unpickle it."""
EXIT_WAIT_S = 1.0
"""How long to wait for the exit of a process that was stopped."""
NICENESS = 10
"""Added to the niceness of the processes: if the CPU is scarce, the requests of the serving process come first."""

_LOG = logging.getLogger("barograph")


class CandidateExited(RuntimeError):
    """The process of a candidate exited during a call."""


class CandidateProcess:
    """A process that calls the candidate. It is started by `start` or the next call, and again after it exited.

    Processes are spawned and not forked: a fork of a serving process copies locks that other threads hold.
    """

    def __init__(self, candidate: Callable[[Any], Any], max_rss_mb: float | None = None) -> None:
        """Prepare the process.

        Args:
            candidate: The candidate, which can be pickled.
            max_rss_mb: The resident memory after a call (MiB) above which the process is replaced; None without limit.
        """
        self._candidate, self._max_rss_mb = candidate, max_rss_mb
        self._lock = threading.Lock()
        self._process: Any = None
        self._connection: Any = None
        self._is_killed = False

    def start(self) -> None:
        """Start the process unless it is running, and wait until it can be called.

        Raises:
            CandidateExited: The process ended before, or was not ready in time.
        """
        # A process that was killed may still look alive, and its call may have returned in the same moment.
        if self._process is not None and not self._is_killed and self._process.is_alive():
            return
        self.stop()
        spawn = multiprocessing.get_context("spawn")
        connection, child = spawn.Pipe()
        process = spawn.Process(
            target=_serve, args=(self._candidate, child, self._max_rss_mb), name="barograph-shadow", daemon=True
        )
        try:
            process.start()
        except BaseException:
            connection.close()
            raise
        finally:
            child.close()
        with self._lock:
            self._process, self._connection, self._is_killed = process, connection, False
        try:
            is_ready = connection.poll(START_TIMEOUT_S) and connection.recv()
        except (EOFError, OSError):
            is_ready = False
        if not is_ready:
            self.kill()
            self.stop()
            raise CandidateExited("the process of the candidate did not start; its error is on stderr")

    def call(self, features: Any) -> CandidateResult:
        try:
            self.start()
            self._connection.send(features)
            result: CandidateResult
            result, is_too_large = self._connection.recv()
        except (EOFError, OSError):  # the process exited or was killed
            self.stop()
            return failed_call(CandidateExited.__name__)
        except Exception as problem:  # the features cannot be pickled, or no process can be started
            return failed_call(error_name(problem))
        if is_too_large:
            _LOG.warning("a process of a shadow uses more than max_rss_mb=%g and is replaced", self._max_rss_mb)
            self.stop()
        return result

    def kill(self) -> None:
        """End the process during a call, which returns with the error `CandidateExited`."""
        with self._lock:
            if self._process is not None:
                self._is_killed = True
                self._process.kill()

    def stop(self) -> None:
        """End the process and wait for its exit."""
        with self._lock:
            process, connection = self._process, self._connection
            self._process = self._connection = None
        if process is None:
            return
        connection.close()
        process.join(EXIT_WAIT_S)
        if process.exitcode is None:
            process.kill()
            process.join(EXIT_WAIT_S)


class ProcessWorkers(ThreadWorkers):
    """A thread for each process. A process whose call is abandoned is killed, and its thread starts another one."""

    ends_calls = True

    def __init__(
        self,
        candidate: Callable[[Any], Any],
        tracker: RequestTracker,
        n_workers: int,
        timer_ns: Callable[[], int],
        max_rss_mb: float | None = None,
    ) -> None:
        """Start the threads, each of which starts its process.

        Args:
            candidate: The candidate, which can be pickled.
            timer_ns: Not used: processes measure latency with `time.perf_counter_ns`.
            max_rss_mb: The resident memory after a call (MiB) above which a process is replaced; None without limit.
        """
        self._max_rss_mb = max_rss_mb
        self._running: dict[int, CandidateProcess] = {}
        self._running_lock = threading.Lock()
        super().__init__(candidate, tracker, n_workers, timer_ns)

    def abandon(self, request: ShadowRequest) -> None:
        """Kill the process of a request."""
        with self._running_lock:
            process = self._running.get(request.number)
            if process is not None:
                process.kill()

    def _work(self) -> None:
        process = CandidateProcess(self._candidate, self._max_rss_mb)
        try:
            while True:
                # Before the next request, so that the start does not take of its time. A call repeats a failed start.
                with contextlib.suppress(Exception):
                    process.start()
                request = self._queue.get()
                if request is None:
                    return
                # Before the start of the request, so that a time-out always finds its process.
                self._running[request.number] = process
                features = self._tracker.begin(request)
                if features is not SETTLED:
                    self._tracker.finish(request, process.call(features))
                with self._running_lock:
                    del self._running[request.number]
                del request, features
        finally:
            process.stop()


def check_picklable(candidate: Callable[[Any], Any]) -> None:
    """Check that a candidate can be sent to another process.

    Raises:
        ValueError: It cannot.
    """
    try:
        ForkingPickler.dumps(candidate)
    except Exception as error:
        raise ValueError(
            f"the candidate cannot be pickled ({type(error).__name__}); pass a function of a module or a method of an "
            'object that can be pickled, or executor="threads"'
        ) from error


def _serve(candidate: Callable[[Any], Any], connection: Connection, max_rss_mb: float | None) -> None:
    """Answer requests until the other end is closed: the main function of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches this process, too
    with contextlib.suppress(OSError, AttributeError):  # not on Windows
        os.nice(NICENESS)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the serving process has ended
        connection.send(True)
        while True:
            result = _answer(candidate, connection)
            connection.send((result, max_rss_mb is not None and _resident_mb() > max_rss_mb))


def _answer(candidate: Callable[[Any], Any], connection: Connection) -> CandidateResult:
    try:
        features = connection.recv()
    except (EOFError, ConnectionResetError):
        raise
    except Exception as problem:  # the features cannot be unpickled here
        return failed_call(error_name(problem))
    return call_candidate(candidate, features, time.perf_counter_ns)


def _resident_mb() -> float:
    """The resident memory of this process (MiB); without /proc the highest so far."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
