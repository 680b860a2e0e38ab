"""A thread that repeats a step: its pauses, its errors and its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from barograph_server.streams.runtime.periodic import Periodic


class Pauses(threading.Event):
    """A stop event that records the pauses instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return self.is_set()


def test_a_step_is_repeated_and_only_the_first_of_several_errors_is_reported() -> None:
    pauses, errors, ended = Pauses(), list[str](), threading.Event()

    def outcomes() -> Iterator[float | None]:
        yield None
        yield from (ValueError("a"), ValueError("b"), 0.0, ValueError("c"))  # type: ignore[misc]
        pauses.set()
        yield 5.0

    steps = outcomes()

    def step() -> float | None:
        outcome = next(steps)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def report(error: Exception) -> None:
        errors.append(str(error))

    periodic = Periodic("x", 9.0, step, errors=(ValueError,), on_error=report, at_end=ended.set, stop=pauses)
    periodic.start()
    assert ended.wait(30)
    assert errors == ["a", "c"]
    assert pauses.seconds == [9.0, 9.0, 9.0, 9.0, 0.0, 9.0, 5.0]


def test_stop_waits_for_the_current_step() -> None:
    began, go_on = threading.Event(), threading.Event()

    def step() -> None:
        began.set()
        go_on.wait(30)

    periodic = Periodic("x", 0.0, step)
    periodic.stop()
    periodic = Periodic("x", 0.0, step)
    periodic.start()
    assert began.wait(30)
    periodic.stop()
    assert periodic.is_alive
    go_on.set()
    periodic.stop(None)
    assert not periodic.is_alive
