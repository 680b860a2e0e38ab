"""The publisher: what a serving system calls for each prediction, and what later brings the truth.

It never blocks, slows or breaks serving: a call costs a few microseconds, what cannot be sent is counted, and no
error of Kafka reaches the caller. For replays and batch jobs, which must lose nothing, `on_full="wait"` turns this
round: calls wait for room, and what goes wrong is raised.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self, SupportsFloat

import pyarrow as pa

from barograph.contract import Contract
from barograph.contract.check import check_contract
from barograph.contract.file import load_contract
from barograph.contract.kinds import name_fault
from barograph.events import (
    END_MARK,
    LABELS_TOPIC,
    MARK_HEADER,
    MAX_EVENT_BYTES,
    MAX_MEMBERS,
    PREDICTIONS_TOPIC,
    Label,
)
from barograph.publisher.batches import send_label, send_labels, send_predictions
from barograph.publisher.observation import Observation
from barograph.publisher.outbox import Outbox, PublishError, Stats, kafka_settings
from barograph.publisher.pii import Pii, read_key
from barograph.publisher.tables import LabelTables, PredictionTables, as_table
from barograph.validation.rows import Validator, Violation, rejecting
from barograph.values import (
    InvalidEvent,
    QuickPrediction,
    encode_event,
    epoch_ms,
    event_id,
    label_value,
    text_map,
    text_of,
)

OnFull = Literal["drop", "wait"]

_NO_MAP: Mapping[str, Any] = {}


class Publisher:
    """Publishes the predictions and labels of one model version to Kafka.

    Safe to share between threads, and after a fork: a child becomes a producer of its own at its first event. Use
    it as a context manager, or `close` it; a process that just ends waits up to five seconds for what is queued.
    """

    def __init__(
        self, contract: Contract, version: str, outbox: Outbox, *, topic_prefix: str = "", key: bytes = b""
    ) -> None:
        """Use `from_contract`; this one takes ready-made parts."""
        self._model = contract.model
        self._version = version
        self._outbox = outbox
        self._predictions_topic = f"{topic_prefix}{PREDICTIONS_TOPIC}"
        self._labels_topic = f"{topic_prefix}{LABELS_TOPIC}"
        self._pii = Pii(contract, key)
        self._protected = tuple(room for room in ("features", "context", "metrics") if self._pii.actions(room))
        self._tables = PredictionTables(contract, version, self._pii)
        self._label_tables = LabelTables(contract.model)
        self._validator = Validator(contract)

    @classmethod
    def from_contract(
        cls,
        contract: str | os.PathLike[str] | Contract,
        *,
        version: str,
        bootstrap_servers: str,
        on_full: OnFull = "drop",
        topic_prefix: str = "",
        key: str | bytes | None = None,
        max_queued: int = 100_000,
        max_queued_bytes: int = 64 << 20,
        kafka: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a publisher for one version of a contract's model.

        Args:
            contract: the path of a contract file, or a contract.
            version: the model's version, as people write it.
            bootstrap_servers: Kafka, as `host:port,…`. With `drop` it may be away; events wait for it.
            on_full: what a call does while the queue is full: `drop` the event and count it, for serving; or `wait`
                for room and raise what goes wrong, for replays and batch jobs.
            topic_prefix: stands before the topics' names, where several systems share a broker.
            key: the secret for hashed fields; by default that in the environment's BAROGRAPH_PII_KEY.
            max_queued: the most messages that wait to be sent, in each of two queues: single predictions, and the rest.
            max_queued_bytes: the most bytes that wait to be sent, in each of the two.
            kafka: further settings of librdkafka, such as `security.protocol`; they win over the publisher's own.

        Raises:
            ContractError: the contract cannot be read or is not valid.
            ValueError: the version is no name, the key is missing, or Kafka's client refuses its settings.
            PublishError: only with `wait`: no broker answers, or the topics do not exist.
        """
        if isinstance(contract, Contract):
            check_contract(contract)
        else:
            contract = load_contract(contract)
        fault = name_fault(version) if isinstance(version, str) else f"is {type(version).__name__}; write it as text"
        if fault is not None:
            raise ValueError(f"version {fault}")
        if on_full not in ("drop", "wait"):
            raise ValueError(f"on_full is {on_full!r}; write drop (serving) or wait (replays, batch jobs)")
        secret = read_key(contract, key)
        settings = {**kafka_settings(bootstrap_servers, on_full, max_queued, max_queued_bytes), **(kafka or {})}
        outbox = Outbox(settings, wait=on_full == "wait")
        publisher = cls(contract, version, outbox, topic_prefix=topic_prefix, key=secret)
        if on_full == "wait":
            try:
                for topic in (publisher._predictions_topic, publisher._labels_topic):
                    outbox.partitions(topic)
            except PublishError:
                outbox.close(0.0)
                raise
        return publisher

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
        at: Any = None,
    ) -> None:
        """Publish one prediction.

        Values may be Python's, NumPy's or pandas' own; None is a null. What no event can hold is published as
        invalid, and an event that cannot be published is counted in `stats.dropped`; nothing is raised.

        Args:
            id: the request's id; the label will carry it.
            features: what the model saw, by name.
            score: the model's number, such as a probability.
            class_: the model's decision.
            scores: a probability per class.
            metrics: further numbers: tokens, cost, time to first token.
            latency_ms: how long the prediction took, in milliseconds.
            arm: the arm of an A/B test.
            context: what is known of the request and is no feature; values become text.
            status: how the request ended, in the serving system's words.
            error: the kind of error; present means that the prediction failed. Of an exception the name of its
                class is published, never its text, which may hold data.
            at: when the prediction was made: an aware datetime or epoch milliseconds; by default now.

        Raises:
            PublishError: only with `on_full="wait"`.
        """
        outbox = self._outbox
        seq = next(outbox.seq)
        try:
            if at is None:
                at = time.time_ns() // 1_000_000
            elif type(at) is not int:
                at = epoch_ms(at)
            if type(id) is not str or not id:
                id = event_id(id)
            if features is not None and (type(features) is not dict or len(features) > MAX_MEMBERS):
                features = _checked("features", features)
            if self._protected:
                features, context, metrics = self._without_pii(
                    features or _NO_MAP, context or _NO_MAP, metrics or _NO_MAP
                )
            if context:
                # A loop, since a generator costs as much as the rest of these checks.
                for text in context.values():
                    if type(text) is not str:
                        context = text_map(context)
                        break
            if class_ is not None and type(class_) is not str:
                class_ = text_of(class_)
            if arm is not None and type(arm) is not str:
                arm = text_of(arm)
            if status is not None and type(status) is not str:
                status = text_of(status)
            if error is not None and type(error) is not str:
                error = type(error).__name__ if isinstance(error, BaseException) else text_of(error)
            if scores is not None:
                scores = _checked("scores", scores)
            if metrics is not None:
                metrics = _checked("metrics", metrics)
            data = encode_event(
                QuickPrediction(
                    self._model,
                    self._version,
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
                    outbox.producer,
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

    def _without_pii(
        self, features: Mapping[str, Any], context: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None, Mapping[str, Any] | None]:
        protect = self._pii.protect
        return (
            protect("features", features) or None,
            protect("context", context) or None,
            protect("metrics", metrics) or None,
        )

    def predictions(self, table: Any) -> int:
        """Publish the rows of a table, about a thousand per message, at about a microsecond per row.

        Columns are the members of a prediction by name (`id`, `at`, `score`, `class`, `latency_ms`, `arm`, `error`,
        `status`, `version`, `features.NAME`, `context.NAME`, `scores.NAME`, `metrics.NAME`); a bare name is a
        feature, context or metric where the contract names it so. Other columns are left out (and logged). Times
        may be timestamps (without a zone they are UTC), epoch milliseconds or RFC 3339 text; without a column `at`
        all rows are of now.

        Args:
            table: a pyarrow Table or RecordBatch, a pandas or polars DataFrame, or whatever else speaks Arrow.

        Returns:
            How many rows were accepted; rows without id or time are counted as dropped (`invalid`).

        Raises:
            PublishError: only with `on_full="wait"`.
        """
        accepted = seen = 0
        try:
            rows = as_table(table)
            _, left_out = self._tables.columns(rows.column_names)
            if left_out:
                self._outbox.note("columns left out, for the contract does not name them", ", ".join(left_out))
            for block in self._tables.blocks(rows):
                seen += block.rows.num_rows + block.n_rejected
                accepted += send_predictions(self._outbox, self._predictions_topic, block.rows)
                if block.n_rejected:
                    self._outbox.skip(block.n_rejected)
                    self._outbox.drop("invalid", block.n_rejected, "rows have no id or no time")
        except PublishError:
            raise
        except Exception as problem:
            unread = max(1, _n_rows(table) - seen)
            self._outbox.skip(unread)
            self._outbox.drop("invalid", unread, _describe(problem))
        return accepted

    def label(self, *, id: str, label: Any, at: Any = None) -> None:
        """Publish the ground truth of one prediction.

        Args:
            id: the prediction's id.
            label: a flag, a number or text.
            at: when the truth was known: an aware datetime or epoch milliseconds; by default now. Of several labels
                of an id the one with the latest `at` holds.

        Raises:
            PublishError: only with `on_full="wait"`.
        """
        try:
            at = time.time_ns() // 1_000_000 if at is None else epoch_ms(at)
            event = Label(model=self._model, id=event_id(id), label=label_value(label), at=at)
            send_label(self._outbox, self._labels_topic, event)
        except PublishError:
            raise
        except Exception as problem:
            self._outbox.drop("invalid", 1, _describe(problem))
        self._outbox.poll()

    def labels(self, table: Any) -> int:
        """Publish a table of labels with the columns `id`, `label` and, optional, `at`.

        All labels of an id go to one partition. Rows without id, label or time are counted as dropped (`invalid`).

        Args:
            table: as for `predictions`.

        Returns:
            How many rows were accepted.

        Raises:
            PublishError: only with `on_full="wait"`.
        """
        accepted = seen = 0
        try:
            for block in self._label_tables.blocks(as_table(table)):
                seen += block.rows.num_rows + block.n_rejected
                accepted += send_labels(self._outbox, self._labels_topic, self._model, block.rows)
                if block.n_rejected:
                    self._outbox.drop("invalid", block.n_rejected, "labels have no id, no label or no time")
        except PublishError:
            raise
        except Exception as problem:
            self._outbox.drop("invalid", max(1, _n_rows(table) - seen), _describe(problem))
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

        `with publisher.observe(id=…, features=…) as p: p.score = model.predict(…)` times the block, publishes the
        members that were set on `p`, and where the block raises records the kind of error and lets it through.
        """
        return Observation(self.prediction, id=id, features=features, arm=arm, context=context, at=at)

    def validate(
        self,
        features: Mapping[str, Any] | None,
        *,
        context: Mapping[str, Any] | None = None,
        at: Any = None,
    ) -> list[Violation]:
        """Hold the features of one prediction against the contract, before the model is called.

        Every violation is counted in `stats.violations`. Those of fields whose policy is `reject` are raised; in a
        block of `observe` that makes a failed prediction of the kind `ContractViolation`, which shows in the volume.
        Values are as the model gets them: before anything is hashed or cut.

        Args:
            features: what the model is about to see, by name.
            context: the request's context; without it the fields that read it are not checked.
            at: when the prediction is made, from which timestamps have their age; by default now.

        Returns:
            The violations, which are all of the policy `flag`; empty where the contract is kept.

        Raises:
            ContractViolation: a field of the policy `reject` violates the contract.
        """
        try:
            at_ms: float | None = time.time() * 1000.0 if at is None else float(epoch_ms(at))
        except InvalidEvent:  # `prediction` will drop the event for it
            at_ms = None
        violations = self._validator.check(features, context, at_ms)
        if violations:
            self._outbox.violate((violation.field, violation.kind) for violation in violations)
            refusal = rejecting(self._validator, violations)
            if refusal is not None:
                raise refusal
        return violations

    def mark(self, kind: Literal["end"] = "end", *, timeout_s: float = 60.0) -> None:
        """Tell every reader that a replay is over, after all that was published before; waits.

        The mark goes to every partition of predictions and labels; windows up to it may then be sealed.

        Raises:
            PublishError: what was published before, or the mark, was not delivered.
        """
        if kind != "end":
            raise ValueError(f"{kind!r} is no mark; write end")
        outbox = self._outbox
        deadline_s = time.monotonic() + timeout_s
        left = outbox.flush(timeout_s)
        if left:
            raise PublishError(f"{left} messages are still queued after {timeout_s:g} s, so no mark was written")
        topics = (self._predictions_topic, self._labels_topic)
        targets = [(topic, partition) for topic in topics for partition in range(outbox.partitions(topic))]
        outbox.broadcast(targets, [(MARK_HEADER, END_MARK)], max(1.0, deadline_s - time.monotonic()))

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until all that was published is delivered; return how many messages are left (0: none).

        Raises:
            PublishError: only with `on_full="wait"`: some are left, or failed.
        """
        return self._outbox.flush(timeout_s)

    def close(self, timeout_s: float = 5.0) -> int:
        """Flush and let go of Kafka; return how many messages were lost. Later events are dropped (`closed`).

        Raises:
            PublishError: only with `on_full="wait"`: some were lost.
        """
        return self._outbox.close(timeout_s)

    @property
    def stats(self) -> Stats:
        """What became of the events of this process so far."""
        return self._outbox.stats

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


def _checked(name: str, members: Mapping[Any, Any]) -> dict[Any, Any]:
    if len(members) > MAX_MEMBERS:
        raise InvalidEvent(f"{name} has {len(members):,} members; at most {MAX_MEMBERS:,} are sent")
    return members if type(members) is dict else dict(members)


def _describe(problem: Exception) -> str:
    """Say what is wrong without repeating values: other errors' texts may hold data of the event."""
    if isinstance(problem, InvalidEvent):
        return str(problem)
    if isinstance(problem, pa.ArrowException):
        return f"Arrow cannot convert the table ({type(problem).__name__})"
    return f"the event cannot be read ({type(problem).__name__})"


def _n_rows(table: Any) -> int:
    try:
        return len(table)
    except TypeError:
        return 0
