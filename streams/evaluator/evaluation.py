"""Evaluations of answers, and their events."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from barograph.contract import Contract
from barograph.contract.evaluator_contracts import evaluator_model
from barograph.contract.evaluators import FAULTY, SOUND
from barograph.sampling import is_in_share
from barograph.text.content import SAMPLE, ContentPolicy
from barograph.values import QuickPrediction

from barograph_server.streams.evaluator.answer import Answer
from barograph_server.warehouse.operations.metrics import SkipReason

MAX_MEMBER_CHARS = 1_000
"""Characters of a version, an arm and a member of `context` that are copied."""


class NoResult(StrEnum):
    """Why an answer has no result; judges have further codes, which begin with `judge-`."""

    ANSWER_CUT = "answer-cut"
    """The text was cut when it was published."""
    NO_QUESTION = "no-question"
    """The evaluator needs the prompt, whose text was not published."""
    TOO_LONG = "too-long"
    """The answer, or the documents that it needs, exceed a limit."""
    SETUP_FAILED = "setup-failed"
    """A file of the evaluator is missing or wrong, or its endpoint has no settings; the log says which."""
    INTERNAL = "internal-error"
    """The evaluator has a bug; the log has the error."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluator says about one answer."""

    is_faulty: bool | None = None
    """None without a result: then `error` says why, or the check is undecided, as for the language of a short text."""
    score: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    """Tokens, cost and calls of a judge; claims of an answer by the result of their citation."""
    error: str | None = None
    skipped: str | None = None
    """Why the answer was not evaluated, on purpose."""
    reason: str = ""
    """What the judge says. It may quote the answer, and is published as the answer's text would be."""

    @property
    def answer_class(self) -> str | None:
        """`faulty`, `sound`, or None without a result."""
        return None if self.is_faulty is None else FAULTY if self.is_faulty else SOUND

    def after(self, earlier: "Evaluation") -> "Evaluation":
        """Return the evaluation with what an earlier try used, too."""
        names = {**earlier.metrics, **self.metrics}
        return replace(
            self, metrics={name: earlier.metrics.get(name, 0.0) + self.metrics.get(name, 0.0) for name in names}
        )


def failed(reason: NoResult | SkipReason) -> Evaluation:
    """Return an evaluation without a result. An answer that was skipped on purpose has no error."""
    return Evaluation(skipped=reason.value) if isinstance(reason, SkipReason) else Evaluation(error=reason.value)


def evaluation_event(
    contract: Contract, name: str, version: str, answer: Answer, share: float, evaluation: Evaluation, latency_ms: float
) -> Any:
    """Return the event (`QuickPrediction`) of an evaluation.

    Args:
        version: the hash of what decides the result.
        share: the probability with which the answer was chosen.
    """
    context = {
        "version": answer.version[:MAX_MEMBER_CHARS],
        # Only judges are waited for after they left the contract.
        "kind": contract.evaluators[name].kind if name in contract.evaluators else "judge",
        "sample": f"{share:g}",
    }
    unit = "" if contract.arms is None else contract.arms.unit.partition(".")[2]
    for member in ("prompt", SAMPLE, unit):
        if member in answer.context:
            context[member] = answer.context[member][:MAX_MEMBER_CHARS]
    if evaluation.reason:
        context |= ContentPolicy(contract, b"").members(answer.id, None, evaluation.reason)
    return QuickPrediction(
        evaluator_model(contract.model, name),
        version,
        answer.id,
        answer.at_ms,
        None if answer.arm is None else answer.arm[:MAX_MEMBER_CHARS],
        context,
        None,
        evaluation.score,
        evaluation.answer_class,
        None,
        _metrics(evaluation) or None,
        latency_ms,
        evaluation.skipped,
        evaluation.error,
        None,
        None,
        None,
    )


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    """Return the metrics with the class as a number, so that arms can be compared by it."""
    if evaluation.is_faulty is None:
        return evaluation.metrics
    return {**evaluation.metrics, "faulty": float(evaluation.is_faulty)}


def is_chosen(evaluator: str, event_id: str, share: float) -> bool:
    """Return whether an answer is in an evaluator's sample.

    The first 8 bytes of SHA-256 of the evaluator's name and the id decide. So the samples of evaluators, and the sample
    of published texts, are independent of one another.

    Args:
        evaluator: the name of its model.
    """
    return is_in_share(share, "evaluation", evaluator, event_id)
