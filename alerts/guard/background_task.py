"""Work that the leading guard does beside the evaluation of rules, on a thread that never overlaps with itself."""

import math
import threading
from collections.abc import Callable, Mapping

import structlog
from barograph.contract import Contract

from barograph_server.streams.errors import ProcessorError
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError

CLOSE_S = 10.0
"""Longest wait for the end of a run, in seconds."""


class TaskStopped(Exception):
    """The guard ends, so the run does too."""


Work = Callable[[Mapping[str, Contract], threading.Event], object]
"""Does the work once for the contracts in force, by model; raises `TaskStopped` once the event is set."""


class BackgroundTask:
    """Runs `work` on a thread, at most once in `pause_s`. A run that fails is logged, and repeated after the pause."""

    def __init__(self, name: str, pause_s: float, clock: Callable[[], float], work: Work) -> None:
        """Start nothing.

        Args:
            name: what it does, for the name of the thread and the log.
            pause_s: least time between the starts of two runs, in seconds.
        """
        self._name, self._pause_s, self._clock, self._work = name, pause_s, clock, work
        self._thread: threading.Thread | None = None
        self._started_s = -math.inf
        self._problem = ""
        self._stop = threading.Event()
        self._log = structlog.get_logger().bind(processor="guard")

    def follow(self, contracts: Mapping[str, Contract]) -> None:
        """Start a run, unless one runs or began within the pause."""
        now_s = self._clock()
        is_running = self._thread is not None and self._thread.is_alive()
        if is_running or abs(now_s - self._started_s) < self._pause_s:
            return
        self._started_s = now_s
        self._thread = threading.Thread(target=self._run, args=(contracts,), name=self._name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask the run to end, and wait for it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _run(self, contracts: Mapping[str, Contract]) -> None:
        try:
            self._work(contracts, self._stop)
        except TaskStopped:
            pass
        except (ProcessorError, WarehouseBusy, WarehouseError) as error:
            if str(error) != self._problem:
                self._problem = str(error)
                self._log.warning(f"{self._name} failed, next try in {self._pause_s:g} s", error=self._problem)
        except Exception:
            self._log.exception(f"{self._name} failed, next try in {self._pause_s:g} s")
        else:
            self._problem = ""
