"""Follows the state of a drill's model as a serving process does."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from barograph.guard.guard import FALLBACK, PRIMARY, Guard

from barograph_server.drills.report import GuardObservation
from barograph_server.settings import Settings


@dataclass
class ServingProcess:
    """Follows the state of a drill's model as a serving process does."""

    settings: Settings
    model: str
    observed: list[GuardObservation] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> ServingProcess:
        settings = self.settings
        guard = self._stack.enter_context(
            Guard(
                self.model,
                bootstrap_servers=settings.bootstrap_servers,
                topic_prefix=settings.topic_prefix,
                kafka=settings.kafka,
            )
        )
        answer = guard.use(lambda: PRIMARY, lambda: FALLBACK)
        guard.on_change(
            lambda changed: self.observed.append(GuardObservation(int(time.time()), changed.state, answer(), None))
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
