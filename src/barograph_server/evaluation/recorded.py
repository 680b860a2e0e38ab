"""Evaluation of recorded answers: queues those without an evaluation, and waits for their results."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from barograph.contract import Contract
from barograph.contract.evaluator_contracts import evaluator_model
from barograph.text.content import ANSWER_TEXT, PROMPT_TEXT

from barograph_server.contracts import hint, read_contract, require_evaluators
from barograph_server.errors import CommandError
from barograph_server.evaluation.judges.judging import collect_reasons
from barograph_server.settings import Settings
from barograph_server.streams.evaluator.active import ActiveEvaluator, HourlyBudget, build_evaluator
from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.check_evaluators import SetupError
from barograph_server.streams.evaluator.evaluation import is_chosen
from barograph_server.streams.evaluator.judge_evaluators import JudgeEvaluators
from barograph_server.streams.evaluator.recorded_answers import AnswerKey, RecordedAnswers, answer_key
from barograph_server.streams.recorder.recorder import known_epoch
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.evaluation.recorded_answers import (
    AnswerCounts,
    AnswerRange,
    RecordedAnswer,
    RecordedEvaluation,
    count_answers,
    read_answers_with_text,
    read_evaluations,
)
from barograph_server.warehouse.operations.metrics import SkipReason

NO_EPOCH = 65_535
"""That of a topic of which the recorder has stored nothing yet."""
PAGE = 500
"""Answers that are read at once; half as many evaluations wait at most when more are queued."""
POLL_S = 1.0
MEMBERS_S = 30.0
"""How often the groups are checked while nothing is evaluated."""


@dataclass(slots=True)
class EvaluatorRun:
    """What a run did for one evaluator. Every chosen answer is in one of the counts."""

    evaluator: str
    version: str
    chosen: int = 0
    """Answers with text that the contract's shares choose."""
    evaluated: int = 0
    already: int = 0
    """Answers with a result of this version before."""
    without_result: Counter[str] = field(default_factory=Counter)
    """Reason → answers whose evaluations before have no result, and that were not evaluated again."""
    waiting: int = 0
    """Answers that wait for the evaluator already."""
    failed: Counter[str] = field(default_factory=Counter)
    """Reason → answers without a result."""
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run over the recorded answers of a model."""

    model: str
    since: datetime
    until: datetime
    answers: AnswerCounts
    without_text: str
    """Why answers have no text; empty if all have one."""
    evaluators: tuple[EvaluatorRun, ...]


@dataclass(frozen=True, slots=True)
class _Open:
    """An evaluation that is queued."""

    run: EvaluatorRun
    at_ms: int
    rows: int
    """Evaluations that were stored before."""


def evaluate_recorded(
    model: str,
    since: datetime,
    until: datetime,
    settings: Settings,
    *,
    evaluator: str | None = None,
    retry: bool = False,
    progress: Callable[[str], object] = lambda _: None,
) -> RecordedRun:
    """Evaluate the recorded answers with event times in [since, until), by all evaluators or one.

    Args:
        retry: whether to evaluate answers again whose evaluations have no result.

    Raises:
        CommandError: no text is stored, an evaluator cannot be used, or the evaluator has other files.
        ProcessorError: no evaluator or no recorder runs, Kafka does not answer, or another run has started.
    """
    with connect(settings.warehouse) as client:
        contract = read_contract(client, model)
        evaluators = _evaluators(contract, evaluator, settings)
        recorded = RecordedAnswers(settings.processor())
        recorded.open(model, {each.model: each.version for each in evaluators})
        epoch = known_epoch(client, settings.processor().topics.predictions, recorded.topic_id)
        answers = AnswerRange(model, since, until, NO_EPOCH if epoch is None else epoch, recorded.read)
        counts = count_answers(client, answers)
        without_text = without_text_reason(contract, counts)
        if not counts.with_text:
            raise CommandError(f"No answer of {model} in this range has its text stored: {without_text}.")
        run = _Run(client, recorded, evaluators, answers, counts, retry=retry, progress=progress)
        try:
            run.run()
        except KeyboardInterrupt as error:
            error.add_note(f"{len(run.open):,} evaluations are queued, and the evaluator goes on with them.")
            raise
    return RecordedRun(model, since, until, counts, without_text, tuple(run.runs.values()))


def _evaluators(contract: Contract, only: str | None, settings: Settings) -> list[ActiveEvaluator]:
    require_evaluators(contract)
    if only is not None and only not in contract.evaluators:
        raise CommandError(
            f"The contract of {contract.model} has no evaluator {only!r}{hint(only, contract.evaluators)}"
        )
    judges, evaluators = JudgeEvaluators(settings.evaluator, threading.Event().wait), []
    with collect_reasons():
        for name in [only] if only is not None else contract.evaluators:
            try:
                check, version = build_evaluator(contract, name, Path(settings.evaluator.folder), judges.build)
            except SetupError as error:
                raise CommandError(
                    f"The evaluator {name} of {contract.model} cannot be used: {error}. This command needs the files "
                    "and endpoints of the evaluator, by which it recognizes versions."
                ) from error
            budget = HourlyBudget(contract.evaluators[name].budget)
            evaluators.append(ActiveEvaluator(contract, name, version, check, budget))
    judges.close()
    return evaluators


def without_text_reason(contract: Contract, counts: AnswerCounts) -> str:
    """Say why answers have no text, and which key of the contract keeps it."""
    if not counts.predictions:
        return "it has no raw row there; raw rows are kept for 90 days"
    if counts.with_text + counts.failed == counts.predictions:
        return "" if counts.with_text else "all predictions there failed"
    text, keep = contract.text, "`text: {content: redact, sample: 0.1}` in the contract keeps that of later answers"
    if text is None or text.content == "drop":
        return f"without `text.content` no text is kept; {keep}"
    if text.content == "hash":
        return f"`text.content: hash` keeps only hashes; {keep}"
    if text.sample < 1.0:
        return f"`text.sample: {text.sample:g}` in the contract keeps the text of this share"
    return "they were published without text, or before `text.content` kept it"


class _Run:
    """One run: reads pages of answers, queues them, and counts results."""

    def __init__(
        self,
        client: Client,
        recorded: RecordedAnswers,
        evaluators: list[ActiveEvaluator],
        answers: AnswerRange,
        counts: AnswerCounts,
        *,
        retry: bool,
        progress: Callable[[str], object],
    ) -> None:
        self._client, self._recorded, self._evaluators = client, recorded, evaluators
        self._answers, self._counts, self._retry, self._progress = answers, counts, retry, progress
        self._versions = {each.model: each.version for each in evaluators}
        self.runs = {each.name: EvaluatorRun(each.name, each.version) for each in evaluators}
        self.open: dict[AnswerKey, _Open] = {}
        self._n_read = 0

    def run(self) -> None:
        last: RecordedAnswer | None = None
        while page := read_answers_with_text(self._client, self._answers, last, PAGE):
            last = page[-1]
            self._n_read += len(page)
            self._queue(page)
            self._wait(PAGE // 2)
        self._wait(0)

    def _queue(self, page: list[RecordedAnswer]) -> None:
        known = self._evaluations((row.id for row in page), page[0].at_ms, page[-1].at_ms)
        queued = []
        for row in page:
            answer = _answer(self._answers.model, row)
            for evaluator in self._evaluators:
                share, run = evaluator.share(answer), self.runs[evaluator.name]
                if not is_chosen(evaluator.model, answer.id, share):
                    continue
                run.chosen += 1
                key = answer_key(evaluator.name, answer)
                before = known.get(key)
                if key in self._recorded.waiting or key in self.open:
                    run.waiting += 1
                elif key in self._recorded.unrecorded or (before is not None and not before.reason):
                    run.already += 1
                elif before is not None and not self._retry:
                    run.without_result[before.reason] += 1
                else:
                    self.open[key] = _Open(run, row.at_ms, 0 if before is None else before.rows)
                    queued.append((evaluator.name, evaluator.version, share, answer))
        self._recorded.queue(queued)

    def _wait(self, most: int) -> None:
        """Wait until at most so many evaluations are queued."""
        checked_s = time.monotonic()
        while True:
            n_before = len(self.open)
            self._count_results()
            self._progress(f"{self._n_read:,} of {self._counts.with_text:,} answers read, {len(self.open):,} queued")
            if len(self.open) <= most:
                return
            now_s = time.monotonic()
            if len(self.open) < n_before:
                checked_s = now_s
            elif now_s - checked_s > MEMBERS_S:
                self._recorded.require_members()
                checked_s = now_s
            time.sleep(POLL_S)

    def _count_results(self) -> None:
        if not self.open:
            return
        times = [each.at_ms for each in self.open.values()]
        results = self._evaluations((event_id for _, event_id, _ in self.open), min(times), max(times))
        for key, result in results.items():
            if key in self.open and result.rows > self.open[key].rows:
                run = self.open.pop(key).run
                run.cost_usd += result.cost_usd
                if result.reason:
                    run.failed[result.reason] += 1
                else:
                    run.evaluated += 1
                if result.reason == SkipReason.CHANGED:
                    raise CommandError(
                        f"The evaluator that runs has another version of {run.evaluator} than {run.version}, that of "
                        "contract, evaluator.folder and endpoints on this machine: make them equal."
                    )

    def _evaluations(self, ids: Iterable[str], from_ms: int, to_ms: int) -> dict[AnswerKey, RecordedEvaluation]:
        results = read_evaluations(self._client, self._versions, sorted(set(ids)), from_ms, to_ms)
        names = {evaluator_model(self._answers.model, name): name for name in self.runs}
        return {(names[model], event_id, version): each for (model, event_id, version), each in results.items()}


def _answer(model: str, row: RecordedAnswer) -> Answer:
    context = {name: value for name, value in row.context.items() if name not in (PROMPT_TEXT, ANSWER_TEXT)}
    question = row.context.get(PROMPT_TEXT) or None
    return Answer(model, row.version, row.id, row.at_ms, row.context[ANSWER_TEXT], question, row.arm or None, context)
