"""The publisher: a serving system calls it for each prediction and, later, for each label.

The publisher never blocks or breaks serving. A call costs a few microseconds, events that cannot be sent are counted,
and no Kafka error reaches the caller. Replays and batch jobs, which must lose nothing, pass `on_full="wait"`: calls
then wait for space in the queue and raise errors.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, SupportsFloat

from barograph.contract import Contract
from barograph.contract.check import check_contract
from barograph.contract.kinds import name_fault
from barograph.contract.label_values import LabelReader, refusal
from barograph.events import (
    CONTEXT,
    END_MARK,
    FEATURES,
    LABELS_TOPIC,
    MARK_HEADER,
    MAX_EVENT_BYTES,
    MAX_MEMBERS,
    METRICS,
    PREDICTIONS_TOPIC,
    ROLES,
    Label,
    Role,
)
from barograph.publisher.heartbeats import STATE_VARIABLE
from barograph.publisher.lifetime import EXIT_FLUSH_S
from barograph.publisher.observation import Observation
from barograph.publisher.outbox import Outbox, PublishError, Stats, kafka_settings, send_label
from barograph.publisher.pii import Pii, read_key
from barograph.publisher.servers import find_bootstrap_servers
from barograph.validation.rows import Validator, Violation, rejection
from barograph.values import (
    InvalidEvent,
    QuickPrediction,
    class_text,
    encode_event,
    epoch_ms,
    event_id,
    label_value,
    text_map,
    text_of,
)

if TYPE_CHECKING:
    from barograph.publisher.tables import LabelTables, PredictionTables

OnFull = Literal["drop", "wait"]

_NS_PER_MS = 1_000_000
_EMPTY: Mapping[str, Any] = {}


class Publisher:
    """Publishes the predictions and labels of one model version to Kafka.

    A publisher may be shared between threads; after a fork, the child becomes a producer of its own. Use it as a
    context manager, or call `close`. A process that exits without either waits up to six seconds.
    """

    def __init__(
        self,
        contract: Contract,
        version: str,
        outbox: Outbox,
        *,
        topic_prefix: str = "",
        key: bytes = b"",
        state_dir: str | os.PathLike[str] | None = None,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        timer_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Assemble a publisher from its parts; use `from_contract`.

        Args:
            wall_clock_ns: Returns nanoseconds since the Unix epoch; the default time of events.
            timer_ns: Returns nanoseconds that never go back; measures latency in `observe`.
        """
        self._contract = contract
        self._model = contract.model
        self._version = version
        self._outbox = outbox
        self._wall_clock_ns = wall_clock_ns
        self._timer_ns = timer_ns
        self._predictions_topic = f"{topic_prefix}{PREDICTIONS_TOPIC}"
        self._labels_topic = f"{topic_prefix}{LABELS_TOPIC}"
        self._pii = Pii(contract, key)
        self._has_pii = any(self._pii.actions(map_name) for map_name in (FEATURES, CONTEXT, METRICS))
        self._validator = Validator(contract)
        self._label_reader = LabelReader(contract.label)
        outbox.send_heartbeats(self._predictions_topic, self._model, lambda: wall_clock_ns() // _NS_PER_MS, state_dir)

    @classmethod
    def from_contract(
        cls,
        contract: str | os.PathLike[str] | Contract,
        *,
        version: str,
        bootstrap_servers: str | None = None,
        on_full: OnFull = "drop",
        topic_prefix: str = "",
        key: str | bytes | None = None,
        max_queued: int = 100_000,
        max_queued_bytes: int = 64 << 20,
        state_dir: str | os.PathLike[str] | None = None,
        kafka: Mapping[str, Any] | None = None,
    ) -> Self:
        """Create a publisher for one version of a contract's model.

        Args:
            contract: A contract, or the path of its file.
            bootstrap_servers: Kafka's addresses, as `host:port,…`; by default BAROGRAPH_BOOTSTRAP_SERVERS, else the
                local stack in BAROGRAPH_HOME (`.barograph`).
            on_full: While the queue is full, `drop` the event and count it, for serving; or `wait` for space and raise
                errors, for replays and batch jobs.
            key: The secret for hashed fields; by default BAROGRAPH_PII_KEY.
            max_queued: The most messages in each of two queues: single predictions, and all other messages;
                `max_queued_bytes` likewise.
            state_dir: A folder with the last `seq` of each serving process, so that after a kill another process
                reports it; by default BAROGRAPH_STATE_DIR, else none.
            kafka: Further librdkafka settings, such as `security.protocol`; they override the publisher's own.

        Raises:
            ContractError: The contract cannot be read or is not valid.
            ValueError: The version is not a name, the key is missing, no Kafka is found, or Kafka's client rejects its
                settings.
            PublishError: Only with `wait`: no broker answers, or the topics do not exist.
        """
        if isinstance(contract, Contract):
            check_contract(contract)
        else:
            from barograph.contract.file import load_contract  # loads the YAML parser

            contract = load_contract(contract)
        fault = version_fault(version)
        if fault is not None:
            raise ValueError(f"version {fault}")
        if on_full not in ("drop", "wait"):
            raise ValueError(f"on_full is {on_full!r}; write drop (serving) or wait (replays, batch jobs)")
        bootstrap_servers = bootstrap_servers or find_bootstrap_servers()
        secret = read_key(contract, key)
        settings = {**kafka_settings(bootstrap_servers, on_full, max_queued, max_queued_bytes), **(kafka or {})}
        outbox = Outbox(settings, wait=on_full == "wait")
        state_dir = state_dir or os.environ.get(STATE_VARIABLE) or None
        publisher = cls(contract, version, outbox, topic_prefix=topic_prefix, key=secret, state_dir=state_dir)
        if on_full == "wait":
            try:
                for topic in (publisher._predictions_topic, publisher._labels_topic):
                    outbox.fetch_partition_count(topic)
            except PublishError:
                outbox.close(0.0)
                raise
        return publisher

    @cached_property
    def _prediction_tables(self) -> PredictionTables:
        from barograph.publisher.tables import PredictionTables  # loads pyarrow

        return PredictionTables(self._contract, self._version, self._pii, wall_clock_ns=self._wall_clock_ns)

    @cached_property
    def _label_tables(self) -> LabelTables:
        from barograph.publisher.tables import LabelTables  # loads pyarrow

        return LabelTables(self._model, self._contract.label, wall_clock_ns=self._wall_clock_ns)

    def prediction(
        self,
        *,
        id: str,
        features: Mapping[str, Any] | None = None,
        score: SupportsFloat | None = None,
        class_: str | bool | int | None = None,
        scores: Mapping[str, SupportsFloat] | None = None,
        metrics: Mapping[str, SupportsFloat] | None = None,
        latency_ms: SupportsFloat | None = None,
        arm: str | None = None,
        context: Mapping[str, str | None] | None = None,
        status: str | None = None,
        error: str | BaseException | None = None,
        role: Role | None = None,
        version: str | None = None,
        at: Any = None,
    ) -> None:
        """Publish one prediction.

        The arguments are the members of [a prediction](events.md#a-prediction). Values may be Python's, NumPy's or
        pandas' own; None is a null. A value that no event can hold is published as invalid. A score, latency or metric
        that is text counts in `stats.violations`, an event that cannot be published in `stats.dropped`.

        Args:
            id: The request's id; the label carries the same id.
            context: Request attributes that are not features; values become text.
            error: The kind of error; if present, the prediction failed. Of an exception, the name of its class is
                published.
            version: The version that answered; the publisher's by default.
            at: When the prediction was made: an aware datetime or epoch milliseconds; now by default.

        Raises:
            PublishError: Only with `on_full="wait"`.
        """
        outbox = self._outbox
        seq = next(outbox.seq)
        try:
            if at is None:
                at = self._wall_clock_ns() // _NS_PER_MS
            elif type(at) is not int:
                at = epoch_ms(at)
            if type(id) is not str or not id:
                id = event_id(id)
            if features is not None and (type(features) is not dict or len(features) > MAX_MEMBERS):
                features = _as_dict(FEATURES, features)
            if self._has_pii:
                features = self._pii.protect(FEATURES, features or _EMPTY) or None
                context = self._pii.protect(CONTEXT, context or _EMPTY) or None
                metrics = self._pii.protect(METRICS, metrics or _EMPTY) or None
            if context:
                # A loop: a generator costs as much as the other checks together.
                for text in context.values():
                    if type(text) is not str:
                        context = text_map(context)
                        break
            if class_ is not None and type(class_) is not str:
                class_ = class_text(class_)
            if arm is not None and type(arm) is not str:
                arm = text_of(arm)
            if status is not None and type(status) is not str:
                status = text_of(status)
            if error is not None and type(error) is not str:
                error = type(error).__name__ if isinstance(error, BaseException) else text_of(error)
            if role is not None and role not in ROLES:
                raise InvalidEvent(f"role is {str(role)[:60]!r}; make it one of {', '.join(ROLES)}")
            if version is not None and (fault := version_fault(version)) is not None:
                raise InvalidEvent(f"version {fault}")
            if isinstance(score, str):
                self._count_text("score")
            if isinstance(latency_ms, str):
                self._count_text("latency_ms")
            if scores is not None:
                scores = _as_dict("scores", scores)
                self._count_texts("scores", scores)
            if metrics is not None:
                metrics = _as_dict("metrics", metrics)
                self._count_texts(METRICS, metrics)
            data = encode_event(
                QuickPrediction(
                    self._model,
                    self._version if version is None else version,
                    id,
                    at,
                    arm,
                    context,
                    features,
                    score,
                    class_,
                    scores,
                    metrics,
                    latency_ms,
                    status,
                    error,
                    role,
                    outbox.producer_id,
                    seq,
                )
            )
        except Exception as problem:
            outbox.drop("invalid", 1, _describe(problem))
            return
        if len(data) > MAX_EVENT_BYTES:
            outbox.drop("too-large", 1, f"an event has {len(data):,} bytes; at most {MAX_EVENT_BYTES:,} are sent")
            return
        outbox.send_event(self._predictions_topic, data)

    def _count_texts(self, map_name: str, members: Mapping[Any, Any]) -> None:
        for name, value in members.items():
            if type(value) is str:
                self._count_text(f"{map_name}.{name}")

    def _count_text(self, member: str, n_events: int = 1) -> None:
        """Count and log text in the place of a number, which processors count as an invalid value."""
        self._outbox.count_violations((member, "invalid") for _ in range(n_events))
        self._outbox.warn("numbers published as text count as invalid values", f"{member} is text; publish a number")

    def predictions(self, table: Any) -> int:
        """Publish the rows of a table, about a thousand per message, at about a microsecond per row.

        Columns are named after the members of a prediction: `id`, `at`, `score`, `class`, `latency_ms`, `arm`, `error`,
        `status`, `version`, `features.NAME`, `context.NAME`, `scores.NAME`, `metrics.NAME`. A bare name is a feature, a
        context member or a metric if the contract has one of that name. Other columns are ignored and logged. Times may
        be timestamps (UTC if they have no zone), epoch milliseconds or RFC 3339 text; now by default.

        Args:
            table: A table of pyarrow, pandas or polars, or another object with Arrow's PyCapsule interface.

        Returns:
            How many rows were accepted. Rows without an id or a time are counted as dropped (`invalid`).

        Raises:
            PublishError: Only with `on_full="wait"`.
        """
        accepted = n_read = 0
        try:
            from barograph.publisher.batches import send_predictions
            from barograph.publisher.tables import as_table, count_texts

            rows = as_table(table)
            _, ignored = self._prediction_tables.columns(rows.column_names)
            if ignored:
                self._outbox.warn("ignored columns that the contract does not name", ", ".join(ignored))
            for block in self._prediction_tables.blocks(rows):
                n_read += block.rows.num_rows + block.n_rejected
                accepted += send_predictions(self._outbox, self._predictions_topic, block.rows)
                for name, n_texts in count_texts(block.rows).items():
                    self._count_text(name, n_texts)
                if block.n_rejected:
                    self._outbox.skip_sequence_numbers(block.n_rejected)
                    self._outbox.drop("invalid", block.n_rejected, "rows have no id or no time")
        except PublishError:
            raise
        except Exception as problem:
            n_unread = max(1, _n_rows(table) - n_read)
            self._outbox.skip_sequence_numbers(n_unread)
            self._outbox.drop("invalid", n_unread, _describe(problem))
        return accepted

    def label(self, *, id: str, label: Any, at: Any = None) -> None:
        """Publish the ground truth of one prediction.

        Args:
            label: The truth, in any form of the contract's type; another value is counted as dropped (`invalid`).
            at: When the truth was known: an aware datetime or epoch milliseconds; now by default. The latest of an id
                counts.

        Raises:
            PublishError: Only with `on_full="wait"`.
        """
        try:
            at = self._wall_clock_ns() // _NS_PER_MS if at is None else epoch_ms(at)
            value = self._label_reader.read(label_value(label))
            if value is None:
                assert self._contract.label is not None
                raise InvalidEvent(refusal(self._contract.label))
            event = Label(model=self._model, id=event_id(id), label=value, at=at)
            send_label(self._outbox, self._labels_topic, event)
        except PublishError:
            raise
        except Exception as problem:
            self._outbox.drop("invalid", 1, _describe(problem))
        self._outbox.poll()

    def labels(self, table: Any) -> int:
        """Publish a table of labels with the columns `id`, `label` and, optionally, `at`.

        Rows without an id, a time or a label that fits the contract are counted as dropped (`invalid`).

        Args:
            table: A table, as for `predictions`.

        Returns:
            How many rows were accepted.

        Raises:
            PublishError: Only with `on_full="wait"`.
        """
        accepted = n_read = 0
        try:
            from barograph.publisher.batches import send_labels
            from barograph.publisher.tables import as_table

            for block in self._label_tables.blocks(as_table(table)):
                n_read += block.rows.num_rows + block.n_rejected
                accepted += send_labels(self._outbox, self._labels_topic, self._model, block.rows)
                if block.n_rejected:
                    detail = block.unread or "labels have no id, no label or no time"
                    self._outbox.drop("invalid", block.n_rejected, detail)
        except PublishError:
            raise
        except Exception as problem:
            self._outbox.drop("invalid", max(1, _n_rows(table) - n_read), _describe(problem))
        return accepted

    def observe(
        self,
        *,
        id: str,
        features: Mapping[str, Any] | None = None,
        arm: str | None = None,
        context: Mapping[str, str | None] | None = None,
        at: Any = None,
    ) -> Observation:
        """Publish one prediction around the code that makes it.

        `with publisher.observe(id=…, features=…) as p: p.score = model.predict(…)` times the block and publishes the
        members that the block sets on `p`.

        Args:
            at: When the prediction is made; the start of the block by default.
        """
        return Observation(
            self.prediction,
            id=id,
            features=features,
            arm=arm,
            context=context,
            at=at,
            wall_clock_ns=self._wall_clock_ns,
            timer_ns=self._timer_ns,
        )

    def validate(
        self, features: Mapping[str, Any] | None, *, context: Mapping[str, Any] | None = None, at: Any = None
    ) -> list[Violation]:
        """Check the features of one prediction against the contract before the model is called.

        Every violation is counted in `stats.violations`. Those of fields with the policy `reject` are raised; in a
        block of `observe` they make a failed prediction. Values are checked before any hashing or truncation.

        Args:
            context: The request's context; without it, the fields that read it are not checked.
            at: When the prediction is made, from which the ages of timestamps are computed; now by default.

        Returns:
            The violations, all of fields with the policy `flag`; empty if there are none.

        Raises:
            ContractViolation: A field with the policy `reject` violates the contract.
        """
        try:
            at_ms: float | None = self._wall_clock_ns() / _NS_PER_MS if at is None else float(epoch_ms(at))
        except InvalidEvent:  # `prediction` drops the event for the same reason
            at_ms = None
        violations = self._validator.check(features, context, at_ms)
        if violations:
            self._outbox.count_violations((violation.field, violation.kind) for violation in violations)
            error = rejection(self._validator, violations)
            if error is not None:
                raise error
        return violations

    def publish_end_marker(self, *, timeout_s: float = 60.0) -> None:
        """Publish the end marker of a replay after all earlier events, and wait until both are delivered.

        Processors on the replay clock then seal all windows; those on the live clock reject it.

        Raises:
            PublishError: The end marker, or with `on_full="wait"` an earlier event, was not delivered.
        """
        outbox = self._outbox
        start_ns = self._timer_ns()
        left = outbox.flush(timeout_s)
        if left:
            raise PublishError(
                f"{left} messages are still queued after {timeout_s:g} s, so no end marker was written; try again"
            )
        topics = (self._predictions_topic, self._labels_topic)
        targets = [(topic, partition) for topic in topics for partition in range(outbox.fetch_partition_count(topic))]
        left_s = timeout_s - (self._timer_ns() - start_ns) / 1e9
        outbox.broadcast(targets, [(MARK_HEADER, END_MARK)], max(1.0, left_s))

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until every published event is delivered, and return how many messages are left.

        Raises:
            PublishError: Only with `on_full="wait"`: messages are left or failed.
        """
        return self._outbox.flush(timeout_s)

    def close(self, timeout_s: float = EXIT_FLUSH_S) -> int:
        """Flush, disconnect from Kafka and return how many messages Kafka did not acknowledge.

        Later events are dropped (`closed`).

        Args:
            timeout_s: The longest wait for queued messages. One more second may pass if messages are left.

        Raises:
            PublishError: Only with `on_full="wait"`: messages were lost.
        """
        return self._outbox.close(timeout_s)

    @property
    def version(self) -> str:
        """The model's version."""
        return self._version

    @property
    def on_full(self) -> OnFull:
        """What a call does while the queue is full: `drop` the event, or `wait` and raise errors."""
        return "wait" if self._outbox.waits else "drop"

    @property
    def stats(self) -> Stats:
        """Counts of this process's events so far, by outcome."""
        return self._outbox.stats

    @property
    def offset_ranges(self) -> dict[tuple[str, int], tuple[int, int]]:
        """The range [start, end) of Kafka offsets that contains the acknowledged events, by topic and partition.

        Messages of other publishers may lie between them. Empty unless `on_full="wait"`.
        """
        return self._outbox.offset_ranges

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except PublishError:
            if error is None:
                raise


def version_fault(version: Any) -> str | None:
    """Say what is wrong with a model's version; None if it can be one."""
    return name_fault(version) if isinstance(version, str) else f"is {type(version).__name__}; write it as text"


def _as_dict(name: str, members: Mapping[Any, Any]) -> dict[Any, Any]:
    if len(members) > MAX_MEMBERS:
        raise InvalidEvent(f"{name} has {len(members):,} members; at most {MAX_MEMBERS:,} are sent")
    return members if type(members) is dict else dict(members)


def _describe(problem: Exception) -> str:
    """Describe an error without values: the texts of other errors may hold data of the event."""
    if isinstance(problem, InvalidEvent):
        return str(problem)
    if isinstance(problem, ModuleNotFoundError):
        return f"a table needs {problem.name}, which is not installed: pip install 'barograph[tables]'"
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None and isinstance(problem, pyarrow.ArrowException):
        return f"Arrow cannot convert the table ({type(problem).__name__})"
    return f"the event cannot be read ({type(problem).__name__})"


def _n_rows(table: Any) -> int:
    try:
        return len(table)
    except TypeError:
        return 0
