"""Guards whose records a test passes on by hand, and their clock."""

from collections.abc import Callable
from typing import Any

from barograph import Guard
from barograph.guard.health import HealthReason, HealthState, ModelHealth

REASON = HealthReason(rule="psi-major", field="temp", value=0.5)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class StartStop:
    started = stopped = 0

    def start(self) -> None:
        self.started += 1

    def stop(self, timeout_s: float) -> None:
        self.stopped += 1

    def restart_after_fork(self) -> None:
        self.started += 1


class ManualReader(StartStop):
    def __init__(self, settings: Any, topic: str, model: str, on_record: Any, on_tick: Any) -> None:
        self.settings, self.topic, self.model = settings, topic, model
        self.receive: Callable[[ModelHealth, bool], None] = on_record
        self.tick: Callable[[], None] = on_tick


def open_guard(clock: Clock | None = None, **options: Any) -> tuple[Guard, ManualReader]:
    readers: list[ManualReader] = []

    def make(*arguments: Any) -> Any:
        readers.append(ManualReader(*arguments))
        return readers[0]

    guard = Guard(
        "m",
        bootstrap_servers="kafka:9092",
        monotonic=clock or Clock(),
        wall_clock=clock or Clock(),
        reader=make,
        **options,
    )
    return guard, readers[0]


def health_record(state: HealthState, sequence: int = 1, at_s: float = 1_000.0, **changes: Any) -> ModelHealth:
    at_ms = int(at_s * 1000)
    return ModelHealth(
        model="m", state=state, since_ms=0, at_ms=at_ms, evaluated_at_ms=at_ms, sequence=sequence, **changes
    )
