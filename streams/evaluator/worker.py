"""The evaluator: reads answers from `predictions`, evaluates them, and writes evaluations to `predictions`.

Evaluations and the offsets of their answers are committed in one Kafka transaction, so that each chosen answer has one
evaluation of each evaluator, whatever is killed. A call of a judge is not part of the transaction: after a crash, the
calls of the uncommitted transaction are repeated, and only the repeated ones are recorded.

An answer whose judge does not answer goes to `waiting-answers` in the same transaction, and is read from there until it
has a result or is too old.
"""

import hashlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import structlog
from barograph.contract import Contract
from barograph.values import encode_event

from barograph_server.streams.broker.assigned_consumer import AssignedConsumer, Membership
from barograph_server.streams.broker.client import PartitionId
from barograph_server.streams.broker.transactions import Message, Transactions
from barograph_server.streams.evaluator.active import FILES_S, NO_VERSION, ActiveEvaluator, ActiveEvaluators
from barograph_server.streams.evaluator.answer import MAX_ID_CHARS, Answer, read_answers
from barograph_server.streams.evaluator.due_answer import DueAnswer, decode_due
from barograph_server.streams.evaluator.evaluation import Evaluation, evaluation_event, failed, is_chosen
from barograph_server.streams.evaluator.judges.errors import OF_ENDPOINT
from barograph_server.streams.evaluator.settings import EvaluatorSettings
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.operations import metrics

GROUP: Final = "evaluator"
POLL_MESSAGES = 100
MAX_ANSWERS = 50
"""Answers after which a transaction is committed."""
READ_S = 1.0
"""How long answers are collected for one transaction."""
JUDGE_S = 40.0
"""Seconds in which judges may begin the calls of a transaction; the other answers are written to `waiting-answers`."""
RETRY_S = 10.0
"""Pause of the answers that wait, after a transaction in which none of them could be evaluated."""
POLL_S = 1.0
"""How often the group is polled during evaluations."""
KNOWN_EVALUATIONS = 100_000
"""Committed evaluations that are remembered, so that an answer that was published twice is not judged twice."""


@dataclass(frozen=True, slots=True)
class _Task:
    """An evaluation that is due."""

    evaluator: ActiveEvaluator
    due: DueAnswer


class _Written(NamedTuple):
    """A message of a transaction: an evaluation, or an answer that waits."""

    topic: str
    value: bytes
    """Empty: nothing is written."""
    skipped: str = ""
    """Why an answer was skipped on purpose; empty for other messages."""


def _key(evaluator: ActiveEvaluator, answer: Answer) -> bytes:
    """Return a digest of what identifies an evaluation: its model and version, and the id and version of the answer."""
    parts = evaluator.model, evaluator.version, answer.id, answer.version
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).digest()


class EvaluatorProcessor:
    """One member of the consumer group `evaluator`."""

    def __init__(
        self,
        settings: ProcessorSettings,
        evaluator: EvaluatorSettings,
        evaluators: ActiveEvaluators,
        report: Report,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Create the consumer and the producer; nothing is read before `run`."""
        self._evaluators, self._report = evaluators, report
        self._predictions, self._waiting = settings.topics.predictions, settings.topics.waiting_answers
        self.topics = {self._predictions: "predictions", self._waiting: "waiting-answers"}
        """The topics that it reads, with their labels in metrics."""
        self._settle_s = 2 * settings.registry_poll_s + FILES_S
        """Time in which changed contracts and files are read, and queued answers wait for them."""
        self._lag_s, self._monotonic, self._clock = evaluator.lag_s, monotonic, clock
        self._consumer = AssignedConsumer(settings, GROUP, self.topics, report, poll_messages=POLL_MESSAGES)
        self._transactions = Transactions(settings, GROUP, report)
        self._pool = ThreadPoolExecutor(evaluator.parallel, thread_name_prefix="judge")
        self._done: OrderedDict[bytes, None] = OrderedDict()
        self._polled_s = self._retry_s = monotonic()
        self._has_waiting = False
        self._answered_ms: dict[str, int] = {}
        """Endpoint → when it last answered."""
        self._log = structlog.get_logger().bind(processor=GROUP, instance=settings.instance)

    def run(self, stop: threading.Event) -> None:
        """Transaction after transaction until `stop` is set."""
        self._transactions.start()
        try:
            self._consumer.run(self._step, stop)
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def assigned_partitions(self) -> Collection[PartitionId]:
        """Return the partitions that this process must move; callable from any thread."""
        return self._consumer.assigned_partitions()

    def _step(self, stop: threading.Event) -> None:
        consumer = self._consumer
        self._evaluators.refresh()
        membership = consumer.membership()
        tasks: dict[bytes, _Task] = {}
        left_out: list[_Written] = []
        n_answers, began_s = 0, self._monotonic()
        waiting = [partition for partition in consumer.positions if partition[0] == self._waiting]
        consumer.pause(waiting if began_s < self._retry_s else ())
        while not stop.is_set() and n_answers < MAX_ANSWERS and self._monotonic() - began_s < READ_S:
            portion = consumer.read(membership)
            for topic, messages in portion.messages:
                for i, value in enumerate(messages.values):
                    if topic == self._waiting:
                        n_answers += 1
                        left_out += self._read_waiting(value, messages.location(topic, i), tasks)
                        continue
                    for answer, received_ms in self._read(value, messages, i):
                        n_answers += 1
                        tasks.update(self._tasks(answer, received_ms))
            for error, partition in portion.errors:
                consumer.handle_error(error, partition)
        if not consumer.positions or not (tasks or consumer.has_uncommitted):
            return
        ordered = sorted(tasks.values(), key=lambda task: task.evaluator.is_judge)
        written = self._evaluate(ordered, membership, stop)
        if written is None:
            return
        all_written = [*left_out, *written]
        values: list[Message] = [(each.topic, {"value": each.value}) for each in all_written if each.value]
        consumer.commit(self._transactions, values, membership)
        self._remember(tasks)
        has_result = [each.topic == self._predictions for each in written]
        self._plan_retry(has_result, [task.due.has_waited for task in ordered])
        self._report.count_committed(sum(topic == self._predictions for topic, _ in values), "published")
        for reason, n in Counter(each.skipped for each in all_written if each.skipped).items():
            self._report.add(metrics.EVALUATIONS_SKIPPED, n, reason)
        self._report.heartbeat.record_work()

    def _plan_retry(self, has_result: list[bool], has_waited: list[bool]) -> None:
        """Pause the answers that wait if a transaction had some of them, and a result for none."""
        retried = [result for result, waited in zip(has_result, has_waited, strict=True) if waited]
        if retried and not any(retried):
            self._retry_s = self._monotonic() + RETRY_S
        if not all(has_result) and not self._has_waiting:
            self._log.warning(
                "answers wait for a judge",
                action=f"None, if it answers soon: it is called again until they are {self._lag_s:,.0f} s old.",
            )
        self._has_waiting = not all(has_result) or (self._has_waiting and not retried)

    def _read(self, value: bytes | None, messages: MessageBatch, i: int) -> Iterator[tuple[Answer, int]]:
        for answer in read_answers(value, self._evaluators.by_model, is_arrow=messages.is_arrow(i)):
            if len(answer.id) > MAX_ID_CHARS:
                position = messages.location(self._predictions, i)
                self._log.warning("answer left out", model=answer.model, position=position, reason="its id is too long")
                continue
            yield answer, int(messages.received_ms[i])

    def _tasks(self, answer: Answer, received_ms: int) -> Iterator[tuple[bytes, _Task]]:
        for evaluator in self._evaluators.by_model[answer.model]:
            share = evaluator.share(answer)
            if is_chosen(evaluator.model, answer.id, share):
                key = _key(evaluator, answer)
                if key not in self._done:
                    yield key, _Task(evaluator, DueAnswer(answer, evaluator.name, share, received_ms))

    def _read_waiting(self, value: bytes | None, position: str, tasks: dict[bytes, _Task]) -> list[_Written]:
        """Add what a record waits for to the tasks; if nothing can evaluate it any more, return why."""
        due, contract, reason = None, None, metrics.UNREADABLE
        try:
            due = decode_due(value or b"")
        except msgspec.DecodeError:
            pass
        else:
            contract, reason = self._evaluators.contract(due.answer.model), metrics.SkipReason.REMOVED
            for evaluator in self._evaluators.by_model.get(due.answer.model, ()):
                if evaluator.name == due.evaluator:
                    if due.only_version in ("", evaluator.version):
                        tasks[_key(evaluator, due.answer)] = _Task(evaluator, due)
                        return []
                    reason = metrics.SkipReason.CHANGED
            if due.only_version and self._clock() - due.received_ms / 1000 < self._settle_s:
                self._retry_s = self._monotonic() + RETRY_S
                return [self._wait(due)]
        self._log.warning("waiting answer left out", position=position, reason=reason)
        if due is None or contract is None:
            # There is no model whose row it could be.
            return [_Written("", b"", reason)]
        evaluation = failed(metrics.SkipReason(reason)).after(due.last or Evaluation())
        return [self._written(contract, due, due.only_version or NO_VERSION, evaluation)]

    def _remember(self, keys: Collection[bytes]) -> None:
        self._done.update(dict.fromkeys(keys))
        while len(self._done) > KNOWN_EVALUATIONS:
            self._done.popitem(last=False)

    # ------------------------------------------------------------------------------------------ evaluating

    def _evaluate(self, tasks: list[_Task], membership: Membership, stop: threading.Event) -> list[_Written] | None:
        """Evaluate all tasks, checks first; None if a stop was requested first, so that nothing may be committed."""
        until_s = self._monotonic() + JUDGE_S
        judges = [task for task in tasks if task.evaluator.is_judge]
        calls = [self._pool.submit(self._judge, task, until_s) for task in judges]
        # A member that evaluates must go on polling, and must not fetch what it cannot evaluate yet.
        self._consumer.pause(self._consumer.positions)
        try:
            messages = [self._check(task, membership) for task in tasks if not task.evaluator.is_judge]
            while not stop.is_set() and not all(each.done() for each in calls):
                self._consumer.keep_polling(membership, 0.1)
                self._report.heartbeat.record_work()
        finally:
            # After a rebalance or a stop, other calls would be made for nothing.
            for each in calls:
                each.cancel()
        if stop.is_set():
            return None
        return [*messages, *(each.result() for each in calls)]

    def _check(self, task: _Task, membership: Membership) -> _Written:
        if self._monotonic() - self._polled_s > POLL_S:
            self._consumer.keep_polling(membership, 0.0)
            self._report.heartbeat.record_work()
            self._polled_s = self._monotonic()
        began_s = self._monotonic()
        evaluation = task.evaluator.evaluate(task.due.answer)
        return self._publish(task, evaluation, (self._monotonic() - began_s) * 1000)

    def _judge(self, task: _Task, until_s: float) -> _Written:
        """Call the judge. The answer waits if the endpoint fails or time is short, and after a wait also for budget."""
        due, endpoint = task.due, task.evaluator.settings.endpoint
        if self._clock() - due.received_ms / 1000 > self._lag_s:
            return self._publish(task, due.last or failed(metrics.SkipReason.LAG))
        if self._monotonic() > until_s:
            return self._wait(due.waiting(due.last or failed(metrics.SkipReason.LAG)))
        if not task.evaluator.budget.take_call():
            skipped = failed(metrics.SkipReason.BUDGET)
            if due.last is None:
                return self._publish(task, skipped)
            return self._wait(due.waiting(skipped.after(due.last)))
        began_s = self._monotonic()
        evaluation = task.evaluator.evaluate(due.answer)
        now_ms, latency_ms = int(self._clock() * 1000), (self._monotonic() - began_s) * 1000
        if evaluation.error not in OF_ENDPOINT and evaluation.metrics.get("calls"):
            self._answered_ms[endpoint] = now_ms
        if due.last is not None:
            evaluation = evaluation.after(due.last)
        waiting = due.after_try(evaluation, self._answered_ms.get(endpoint, -1), now_ms)
        return self._publish(task, evaluation, latency_ms) if waiting is None else self._wait(waiting)

    def _wait(self, due: DueAnswer) -> _Written:
        return _Written(self._waiting, msgspec.json.encode(due))

    def _publish(self, task: _Task, evaluation: Evaluation, latency_ms: float = 0.0) -> _Written:
        return self._written(task.evaluator.contract, task.due, task.evaluator.version, evaluation, latency_ms)

    def _written(
        self, contract: Contract, due: DueAnswer, version: str, evaluation: Evaluation, latency_ms: float = 0.0
    ) -> _Written:
        event = evaluation_event(contract, due.evaluator, version, due.answer, due.share, evaluation, latency_ms)
        return _Written(self._predictions, encode_event(event), evaluation.skipped or "")
