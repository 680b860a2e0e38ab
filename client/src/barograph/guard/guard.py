"""The state of a model in the serving process: a plain attribute, kept current by a thread."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Self, TypeVar

from barograph.guard.health import HEALTH_TOPIC, HealthReason, HealthState, ModelHealth, decode_health
from barograph.publisher import lifetime
from barograph.publisher.observation import current_observation
from barograph.publisher.servers import find_bootstrap_servers
from barograph.topic_reader import TopicReader, check_sequence


@dataclass(frozen=True, slots=True)
class HealthChange:
    """What a guard reported from one moment on, until the next change."""

    model: str
    state: HealthState
    uses_fallback: bool
    reasons: tuple[HealthReason, ...]


class ChangeNotifier:
    """Passes changes to one function, in order and one at a time.

    A function that blocks delays its own changes only: `notify` never waits.
    """

    def __init__(self, callback: Callable[[HealthChange], object]) -> None:
        """Start the thread. Exceptions of the callback are logged."""
        self._callback = callback
        self._start()

    def notify(self, change: HealthChange) -> None:
        """Queue a change, without waiting."""
        self._changes.put(change)

    def request_stop(self) -> None:
        """Let the thread end after the changes that are queued."""
        self._changes.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread, except on that thread."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def restart_after_fork(self) -> None:
        """In a forked child: start over without the queued changes, which the parent passes on."""
        self._start()

    def _start(self) -> None:
        # A fork may copy a queue whose lock another thread holds, so a child needs a new one.
        self._changes: queue.SimpleQueue[HealthChange | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(self._changes,), name="barograph-guard-changes", daemon=True
        )
        self._thread.start()

    def _run(self, changes: queue.SimpleQueue[HealthChange | None]) -> None:
        # A function that forks continues in the child, where another thread serves another queue.
        while changes is self._changes and (change := changes.get()) is not None:
            try:
                self._callback(change)
            except Exception:
                _LOG.exception("a callback on the state of model %s failed", change.model)


_LOG = logging.getLogger("barograph.guard")


P = ParamSpec("P")
R = TypeVar("R")

STALE_S = 60.0
"""Default age of the newest record at which the state becomes unknown. A guard writes one every ten seconds."""
PRIMARY, FALLBACK = "primary", "fallback"


class Guard:
    """The state of one model.

    No call blocks, and no error of Kafka reaches the caller. A guard may be shared between threads and used after a
    fork.
    """

    state: HealthState
    """`healthy`, `degraded`, or `unknown`: no record yet, monitoring is blind, or its records have stopped."""
    uses_fallback: bool
    """Whether the fallback answers: the model is degraded, or unknown and the contract says `degrade`, or unknown,
    the contract says `keep`, and the model was degraded before."""
    reasons: tuple[HealthReason, ...]
    """The rules that fire, or why monitoring is blind."""

    def __init__(
        self,
        model: str,
        *,
        bootstrap_servers: str | None = None,
        topic_prefix: str = "",
        stale_s: float = STALE_S,
        kafka: Mapping[str, Any] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        reader: Callable[..., TopicReader] = TopicReader,
    ) -> None:
        """Start to follow the state of a model. The state is `unknown` until Kafka has answered.

        Args:
            bootstrap_servers: Kafka's addresses, by default those of a publisher.
            topic_prefix: Precedes the topic's name.
            stale_s: Age of the newest record at which the state becomes `unknown` (s).
            kafka: Further librdkafka settings, such as `security.protocol`.

        Raises:
            ValueError: No Kafka is found, or `stale_s` is not above 0.
        """
        if not stale_s > 0:
            raise ValueError(f"stale_s is {stale_s}; it must be above 0")
        self.model = model
        self.state = "unknown"
        self.uses_fallback = False
        self.reasons = ()
        self._record: ModelHealth | None = None
        self._fresh_until_s = float("-inf")
        self._stale_s = stale_s
        self._monotonic, self._wall_clock = monotonic, wall_clock
        self._notifiers: list[ChangeNotifier] = []
        servers = bootstrap_servers or find_bootstrap_servers()
        self._topic = f"{topic_prefix}{HEALTH_TOPIC}"
        self._has_unreadable_record = False
        self._reader = reader(
            {"bootstrap.servers": servers, **(kafka or {})},
            self._topic,
            "barograph-guard",
            self._read,
            self._tick,
            purpose=f"the state of model {model}",
            log=_LOG,
        )
        self._reader.start()
        lifetime.register(self)

    def on_change(self, callback: Callable[[HealthChange], object]) -> None:
        """Call a function after each change of `state` or `uses_fallback`, on a thread of its own.

        It receives each change once, in order, with the state and reasons of that change. A function that blocks delays
        neither the guard nor other functions; its exceptions are logged.
        """
        self._notifiers.append(ChangeNotifier(callback))

    def use(self, primary: Callable[P, R], fallback: Callable[P, R]) -> GuardedCall[P, R]:
        """Return a function that calls the primary, or the fallback while `uses_fallback` is true.

        Inside `Publisher.observe` the prediction's context says which one answered: `answered_by` is `primary` or
        `fallback`.
        """
        return GuardedCall(self, primary, fallback)

    def close(self, timeout_s: float = 1.0) -> int:
        """Stop following; the attributes keep their last values. Idempotent.

        Functions of `on_change` receive the changes until then.
        """
        end_s = time.monotonic() + timeout_s
        self._reader.stop(timeout_s)
        for notifier in self._notifiers:
            notifier.request_stop()
        for notifier in self._notifiers:
            notifier.join(max(0.0, end_s - time.monotonic()))
        lifetime.unregister(self)
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a forked child: read with a thread of its own. Until it has read, the state of the parent holds."""
        for notifier in self._notifiers:
            notifier.restart_after_fork()
        self._reader.restart_after_fork()

    def _read(self, message: Any, is_new: bool) -> None:
        key, value = message.key(), message.value()
        if key != self.model.encode() or value is None:
            return
        try:
            record = decode_health(value)
            check_sequence(record.sequence, message)
            if record.model != self.model:
                raise ValueError(f"the record is about model {record.model!r}")
        except ValueError as error:
            if not self._has_unreadable_record:
                self._has_unreadable_record = True
                _LOG.warning(
                    "an unreadable record of model %s in topic %s is ignored, as are further ones: offset %s: %s",
                    *(self.model, self._topic, message.offset(), error),
                )
            return
        self._receive(record, is_new)

    def _receive(self, record: ModelHealth, is_new: bool) -> None:
        """Follow a record.

        A record that arrives while the reader follows the topic is fresh, whatever the clocks say, and the newest,
        whatever its number: a forged one holds until the guard writes its next one. After a lost connection the reader
        starts over, and the number tells the records that it knows. The age of one that the topic held before is known
        from the clocks only.
        """
        if not is_new and self._record is not None and record.sequence < self._record.sequence:
            return
        self._record = record
        age_s = 0.0 if is_new else max(0.0, self._wall_clock() - record.at_ms / 1000)
        self._fresh_until_s = self._monotonic() + self._stale_s - age_s
        self._tick()

    def _tick(self) -> None:
        record = self._record
        if record is None:
            return
        is_fresh = self._monotonic() < self._fresh_until_s
        state: HealthState = record.state if is_fresh else "unknown"
        if state == "unknown":
            known = record.known_state if record.state == "unknown" else record.state
            uses_fallback = record.when_unknown == "degrade" or known == "degraded"
        else:
            uses_fallback = state == "degraded"
        self.reasons = reasons = record.reasons if is_fresh else _stale_reason(record)
        if (state, uses_fallback) == (self.state, self.uses_fallback):
            return
        self.state, self.uses_fallback = state, uses_fallback
        change = HealthChange(self.model, state, uses_fallback, reasons)
        for notifier in self._notifiers:
            notifier.notify(change)


class GuardedCall(Generic[P, R]):
    """A primary with its fallback."""

    __slots__ = ("_fallback", "_guard", "_primary")

    def __init__(self, guard: Guard, primary: Callable[P, R], fallback: Callable[P, R]) -> None:
        self._guard, self._primary, self._fallback = guard, primary, fallback

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the one that answers now."""
        uses_fallback = self._guard.uses_fallback
        observation = current_observation()
        if observation is not None:
            observation.answered_by = FALLBACK if uses_fallback else PRIMARY
        return (self._fallback if uses_fallback else self._primary)(*args, **kwargs)


def _stale_reason(record: ModelHealth) -> tuple[HealthReason, ...]:
    text = "No record of the guard has arrived in time: it has stopped, or Kafka is unreachable."
    return (HealthReason(rule="blind", text=text, since_ms=record.at_ms),)
