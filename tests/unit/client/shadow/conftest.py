import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from barograph import Contract, Shadow

from tests.support.scripted_kafka import ScriptedPublisher

TIMEOUT_S = 3_600.0
"""The time-out of the tests: only the manual clock reaches it."""


def wait_until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


class ScriptedShadow:
    """A shadow of version 4 of a scripted publisher's version 3."""

    def __init__(self, serving: ScriptedPublisher, candidate: Callable[[Any], Any], **options: Any) -> None:
        self.serving = serving
        self.shadow = Shadow(
            serving.publisher,
            candidate,
            version="4",
            of="3",
            **{
                "timeout_ms": TIMEOUT_S * 1000,
                "clock": lambda: serving.now_s,
                "wall_clock_ns": lambda: serving.now_ns,
                **options,
            },
        )

    def advance(self, seconds: float) -> str:
        self.serving.now_s += seconds
        self.shadow._service.expire()
        return self.shadow.state

    def submit(self, *ids: str, features: Any = None) -> None:
        for id in ids:
            self.shadow.submit(id=id, features={"x": 0.5} if features is None else features)

    def events(self) -> dict[str, dict[str, Any]]:
        events = self.serving.flush_events()
        assert len({event["id"] for event in events}) == len(events)
        return {event["id"]: event for event in events}

    def errors(self) -> dict[str, str | None]:
        return {id: event.get("error") for id, event in self.events().items()}

    def outcomes(self) -> dict[str, int]:
        stats = self.shadow.stats
        assert stats.submitted == stats.pending + sum(stats.outcomes.values())
        return {outcome: n for outcome, n in stats.outcomes.items() if n}


@pytest.fixture
def serving() -> Iterator[ScriptedPublisher]:
    scripted = ScriptedPublisher(Contract(model="m"))
    yield scripted
    scripted.publisher.close()


@pytest.fixture
def make_shadow(serving: ScriptedPublisher) -> Iterator[Callable[..., ScriptedShadow]]:
    shadows: list[ScriptedShadow] = []

    def make(candidate: Callable[[Any], Any], **options: Any) -> ScriptedShadow:
        shadows.append(ScriptedShadow(serving, candidate, **options))
        return shadows[-1]

    yield make
    for scripted in shadows:
        scripted.shadow.close(0)
