"""One prediction while it is being made."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, SupportsFloat

from barograph.publisher.outbox import PublishError


class Observation:
    """Times a block of code and publishes what it set: `score`, `class_`, `scores`, `metrics`, `status`, and more.

    All members of a prediction may be set inside the block, `features` and `context` too. An exception is recorded
    by its kind alone (its text may hold data) and goes on as if nobody had looked.
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
    ) -> None:
        self._publish = publish
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
        """Set it to tell another latency than that of the block."""
        self.status: str | None = None
        self.error: str | None = None

    def __enter__(self) -> Self:
        if self.at is None:
            self.at = time.time_ns() // 1_000_000
        self._begun_ns = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed_ms = (time.perf_counter_ns() - self._begun_ns) / 1e6
        with contextlib.suppress(PublishError) if error is not None else contextlib.nullcontext():
            self._tell(elapsed_ms, kind)

    def _tell(self, elapsed_ms: float, kind: type[BaseException] | None) -> None:
        self._publish(
            id=self.id,
            features=self.features,
            score=self.score,
            class_=self.class_,
            scores=self.scores,
            metrics=self.metrics,
            latency_ms=elapsed_ms if self.latency_ms is None else self.latency_ms,
            arm=self.arm,
            context=self.context,
            status=self.status,
            error=kind.__name__ if kind is not None else self.error,
            at=self.at,
        )
