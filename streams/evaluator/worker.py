"""The evaluator: reads answers from `predictions`, evaluates them, and writes evaluations to `predictions`.

Evaluations and the offsets of their answers are committed in one Kafka transaction, so that each chosen answer has one
evaluation of each evaluator, whatever is killed. A call of a judge is not part of the transaction: after a crash, the
calls of the uncommitted transaction are repeated, and only the repeated ones are recorded.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import structlog
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER
from barograph.values import encode_event

from barograph_server.streams.broker.assigned_consumer import AssignedConsumer, Membership
from barograph_server.streams.broker.client import PartitionId
from barograph_server.streams.broker.transactions import Transactions
from barograph_server.streams.evaluator.active import ActiveEvaluator, ActiveEvaluators
from barograph_server.streams.evaluator.answer import MAX_ID_CHARS, Answer, read_answers
from barograph_server.streams.evaluator.evaluation import Evaluation, NoResult, evaluation_event, failed, is_chosen
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings

GROUP: Final = "evaluator"
POLL_MESSAGES = 100
MAX_ANSWERS = 50
"""Answers after which a transaction is committed."""
READ_S = 1.0
"""How long answers are collected for one transaction."""
JUDGE_S = 40.0
"""Seconds in which judges may begin the calls of a transaction; answers that still wait then are skipped."""
POLL_S = 1.0
"""How often the group is polled during evaluations."""
KNOWN_EVALUATIONS = 100_000
"""Committed evaluations that are remembered, so that an answer that was published twice is not judged twice."""
_IS_ARROW = (CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)


@dataclass(frozen=True, slots=True)
class _Task:
    """An evaluation that is due."""

    evaluator: ActiveEvaluator
    answer: Answer
    share: float
    received_ms: int


def _key(evaluator: ActiveEvaluator, answer: Answer) -> bytes:
    """Return a digest of what identifies an evaluation: its model and version, and the id and version of the answer."""
    parts = evaluator.model, evaluator.version, answer.id, answer.version
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).digest()


class EvaluatorProcessor:
    """One member of the consumer group `evaluator`."""

    def __init__(
        self,
        settings: ProcessorSettings,
        evaluators: ActiveEvaluators,
        report: Report,
        *,
        parallel: int,
        lag_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Create the consumer and the producer; nothing is read before `run`.

        Args:
            parallel: calls of judges at the same time.
            lag_s: age since receipt at which judges skip an answer.
        """
        self._evaluators, self._report = evaluators, report
        self._predictions = settings.topics.predictions
        self._lag_s, self._monotonic, self._clock = lag_s, monotonic, clock
        self._consumer = AssignedConsumer(
            settings, GROUP, {self._predictions: "predictions"}, report, poll_messages=POLL_MESSAGES
        )
        self._transactions = Transactions(settings, GROUP, report)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="judge")
        self._done: OrderedDict[bytes, None] = OrderedDict()
        self._polled_s = monotonic()
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
        n_answers, began_s = 0, self._monotonic()
        while not stop.is_set() and n_answers < MAX_ANSWERS and self._monotonic() - began_s < READ_S:
            portion = consumer.read(membership)
            for _, messages, _ in portion.messages:
                for message in messages:
                    for answer, received_ms in self._read(message):
                        n_answers += 1
                        tasks.update(self._tasks(answer, received_ms))
            for error, partition in portion.errors:
                consumer.handle_error(error, partition)
        if not consumer.positions or not (tasks or consumer.has_uncommitted):
            return
        events = self._evaluate(list(tasks.values()), membership, stop)
        if events is None:
            return
        consumer.commit(self._transactions, [(self._predictions, {"value": event}) for event in events], membership)
        self._remember(tasks)
        self._report.count_committed(len(events), "published")
        self._report.heartbeat.record_work()

    def _read(self, message: Any) -> Iterator[tuple[Answer, int]]:
        is_arrow = _IS_ARROW in (message.headers() or ())
        received_ms = message.timestamp()[1]
        for answer in read_answers(message.value(), self._evaluators.by_model, is_arrow=is_arrow):
            if len(answer.id) > MAX_ID_CHARS:
                position = f"{message.topic()}/{message.partition()}/{message.offset()}"
                self._log.warning("answer left out", model=answer.model, position=position, reason="its id is too long")
                continue
            yield answer, received_ms

    def _tasks(self, answer: Answer, received_ms: int) -> Iterator[tuple[bytes, _Task]]:
        for evaluator in self._evaluators.by_model[answer.model]:
            share = evaluator.share(answer)
            if is_chosen(evaluator.model, answer.id, share):
                key = _key(evaluator, answer)
                if key not in self._done:
                    yield key, _Task(evaluator, answer, share, received_ms)

    def _remember(self, keys: Collection[bytes]) -> None:
        self._done.update(dict.fromkeys(keys))
        while len(self._done) > KNOWN_EVALUATIONS:
            self._done.popitem(last=False)

    # ------------------------------------------------------------------------------------------ evaluating

    def _evaluate(self, tasks: list[_Task], membership: Membership, stop: threading.Event) -> list[bytes] | None:
        """Evaluate all tasks; None if a stop was requested first, so that nothing may be committed."""
        until_s = self._monotonic() + JUDGE_S
        judges = [task for task in tasks if task.evaluator.is_judge]
        calls = [self._pool.submit(self._judge, task, until_s) for task in judges]
        # A member that evaluates must go on polling, and must not fetch what it cannot evaluate yet.
        self._consumer.pause(self._consumer.positions)
        try:
            events = [self._check(task, membership) for task in tasks if not task.evaluator.is_judge]
            while not stop.is_set() and not all(each.done() for each in calls):
                self._consumer.keep_polling(membership, 0.1)
                self._report.heartbeat.record_work()
        finally:
            # After a rebalance or a stop, other calls would be made for nothing.
            for each in calls:
                each.cancel()
        if stop.is_set():
            return None
        self._consumer.pause(())
        return [*events, *(each.result() for each in calls)]

    def _check(self, task: _Task, membership: Membership) -> bytes:
        if self._monotonic() - self._polled_s > POLL_S:
            self._consumer.keep_polling(membership, 0.0)
            self._report.heartbeat.record_work()
            self._polled_s = self._monotonic()
        return self._run(task)

    def _judge(self, task: _Task, until_s: float) -> bytes:
        """Call the judge, unless the answer waits for too long or the budget is used up."""
        if self._monotonic() > until_s or self._clock() - task.received_ms / 1000 > self._lag_s:
            return _encode(task, failed(NoResult.SKIPPED_LAG), 0.0)
        if not task.evaluator.budget.take_call():
            return _encode(task, failed(NoResult.SKIPPED_BUDGET), 0.0)
        return self._run(task)

    def _run(self, task: _Task) -> bytes:
        began_s = self._monotonic()
        evaluation = task.evaluator.evaluate(task.answer)
        return _encode(task, evaluation, (self._monotonic() - began_s) * 1000)


def _encode(task: _Task, evaluation: Evaluation, latency_ms: float) -> bytes:
    evaluator = task.evaluator
    return encode_event(
        evaluation_event(
            evaluator.contract, evaluator.name, evaluator.version, task.answer, task.share, evaluation, latency_ms
        )
    )
