"""A thread that repeats a step."""

import threading
from collections.abc import Callable


class Periodic:
    """Repeats a step on a thread of its own, first after one interval, until it is stopped.

    An error that is not among `errors` ends the thread, and in a processor the process.
    """

    def __init__(
        self,
        name: str,
        interval_s: float,
        step: Callable[[], float | None],
        *,
        errors: tuple[type[Exception], ...] = (),
        on_error: Callable[[Exception], object] = lambda error: None,
        at_end: Callable[[], object] = lambda: None,
        stop: threading.Event | None = None,
    ) -> None:
        """Create the thread; nothing runs before `start`.

        Args:
            step: may return the seconds until the next step instead of the interval.
            errors: kinds of errors after which the next step follows as usual.
            on_error: receives the first of consecutive errors.
            at_end: called on the thread when it ends.
            stop: ends the thread when it is set; shared by several, or None for an event of its own.
        """
        self._interval_s, self._step, self._errors = interval_s, step, errors
        self._on_error, self._at_end = on_error, at_end
        self._stop = stop or threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float | None = 0.0) -> None:
        """End the thread after its current step, and wait for it at most so long; None: until it has ended."""
        self._stop.set()
        if self.is_alive:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        pause_s, is_failing = self._interval_s, False
        try:
            while not self._stop.wait(pause_s):
                pause_s = self._interval_s
                try:
                    next_s = self._step()
                except self._errors as error:
                    if not is_failing:
                        self._on_error(error)
                    is_failing = True
                else:
                    is_failing = False
                    pause_s = self._interval_s if next_s is None else next_s
        finally:
            self._at_end()
