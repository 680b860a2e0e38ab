"""A prediction that is published around the code that makes it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, SupportsFloat

from barograph.publisher.outbox import PublishError

ANSWERED_BY = "answered_by"
"""Key of the context that says whether the primary or its fallback answered."""
_CURRENT: ContextVar[Observation | None] = ContextVar("barograph-observation", default=None)
current_observation = _CURRENT.get
"""Returns the innermost observation whose block runs in this thread or task; None outside of any."""


class Observation:
    """Times a block of code and publishes the members that the block sets, such as `score`, `class_` or `metrics`.

    The block may set every member of a prediction, `features` and `context` included. If the block raises, only the
    class name of the exception is published, since its text may hold data; the exception propagates.
    """

    def __init__(
        self,
        publish: Callable[..., None],
        *,
        id: str,
        features: Mapping[str, Any] | None,
        arm: str | None,
        context: Mapping[str, str | None] | None,
        at: Any,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        timer_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Prepare the prediction; use `Publisher.observe`.

        Args:
            at: When the prediction is made; the start of the block by default.
        """
        self._publish = publish
        self._wall_clock_ns, self._timer_ns = wall_clock_ns, timer_ns
        self.id = id
        self.features = features
        self.arm = arm
        self.context = context
        self.at = at
        self.score: SupportsFloat | None = None
        self.class_: str | bool | int | None = None
        self.scores: Mapping[str, SupportsFloat] | None = None
        self.metrics: Mapping[str, SupportsFloat] | None = None
        self.latency_ms: SupportsFloat | None = None
        """Overrides the measured latency of the block."""
        self.answered_by: str | None = None
        """`primary` or `fallback`, if a guard chose between them; published in the context."""
        self.status: str | None = None
        self.error: str | None = None

    def __enter__(self) -> Self:
        if self.at is None:
            self.at = self._wall_clock_ns() // 1_000_000
        self._token = _CURRENT.set(self)
        self._start_ns = self._timer_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed_ms = (self._timer_ns() - self._start_ns) / 1e6
        _CURRENT.reset(self._token)
        context = self.context
        if self.answered_by is not None:
            context = {**(context or {}), ANSWERED_BY: self.answered_by}
        with contextlib.suppress(PublishError) if error is not None else contextlib.nullcontext():
            self._publish(
                id=self.id,
                features=self.features,
                score=self.score,
                class_=self.class_,
                scores=self.scores,
                metrics=self.metrics,
                latency_ms=elapsed_ms if self.latency_ms is None else self.latency_ms,
                arm=self.arm,
                context=context,
                status=self.status,
                error=kind.__name__ if kind is not None else self.error,
                at=self.at,
            )
