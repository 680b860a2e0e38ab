"""Self-consistency: how far further answers of the answering model agree with the answer."""

from __future__ import annotations

import hashlib
import json

import structlog
from barograph.contract.evaluators import Evaluator
from barograph.prompts.content import PromptMessage

from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.check_evaluators import Check
from barograph_server.streams.evaluator.evaluation import Evaluation, NoResult, failed
from barograph_server.streams.evaluator.judges.chat import ChatModel, ChatParameters
from barograph_server.streams.evaluator.judges.consistency import COMPARISONS, mean_similarity, sample_answers
from barograph_server.streams.evaluator.settings import JudgeEndpoint, call_metrics

RULES_VERSION = 1
"""Part of every version: raise it when answers are sampled or compared differently."""
DEFAULT_COMPARISON = "tokens"
DEFAULT_TEMPERATURE = 0.8
DEFAULT_MAX_TOKENS = 1_000


def build_consistency(
    evaluator: Evaluator, model: ChatModel, endpoint: JudgeEndpoint, limit_s: float
) -> tuple[Check, str]:
    """Build self-consistency, and return it with its version: 12 hexadecimal digits.

    Args:
        model: the endpoint, which serves the answering model.
        limit_s: seconds for all further answers to one prompt.
    """
    n_samples, at_least = evaluator.consistency or 0, evaluator.at_least or 0.0
    comparison = evaluator.compare or DEFAULT_COMPARISON
    parameters = ChatParameters(
        DEFAULT_TEMPERATURE if evaluator.temperature is None else evaluator.temperature,
        evaluator.max_tokens or DEFAULT_MAX_TOKENS,
    )
    sampling = [parameters.temperature, parameters.max_tokens, parameters.seed]
    decisive = [RULES_VERSION, model.model, n_samples, comparison, at_least, *sampling]
    log = structlog.get_logger().bind(processor="evaluator", endpoint=endpoint.name)
    asks_logprob = True

    def evaluate(answer: Answer) -> Evaluation:
        nonlocal asks_logprob
        if answer.is_cut:
            return failed(NoResult.ANSWER_CUT)
        if answer.question is None or not answer.has_whole_question:
            return failed(NoResult.NO_QUESTION)
        messages = (PromptMessage("user", answer.question),)
        samples = sample_answers(model, messages, n_samples, parameters, logprob=asks_logprob, limit_s=limit_s)
        if samples.lacks_logprobs and asks_logprob:
            log.info("endpoint reports no log-probabilities", action="None: later calls do without.")
            asks_logprob = False
        metrics = call_metrics(endpoint, samples.input_tokens, samples.output_tokens, samples.attempts)
        if samples.error is not None:
            log.warning("no verdict", error=samples.error.code, reason=str(samples.error))
            return Evaluation(metrics=metrics, error=samples.error.code.value)
        if samples.mean_logprob is not None:
            metrics["mean_logprob"] = samples.mean_logprob
        agreement = mean_similarity(answer.text, samples.texts, COMPARISONS[comparison])
        return Evaluation(agreement < at_least, agreement, metrics)

    return evaluate, hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:12]
