"""Evaluators that are language models: a rubric, and an endpoint of the settings."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from barograph.contract.evaluators import FAULTY, Evaluator
from barograph.contract.problems import ContractError
from barograph.prompts.content import PromptMessage

from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.check_evaluators import Check, SetupError, read_documents, read_file
from barograph_server.streams.evaluator.checks.errors import AnswerCheckError
from barograph_server.streams.evaluator.evaluation import Evaluation, NoResult, failed
from barograph_server.streams.evaluator.judges.chat import ChatModel, ChatParameters
from barograph_server.streams.evaluator.judges.consistency import COMPARISONS, mean_similarity, sample_answers
from barograph_server.streams.evaluator.judges.context import CONTEXT_RULES, DocumentContext
from barograph_server.streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings
from barograph_server.streams.evaluator.judges.errors import JudgeErrorCode, JudgeSettingsError
from barograph_server.streams.evaluator.judges.judge import Judge, JudgeVerdict
from barograph_server.streams.evaluator.judges.retries import CallRetries, RetryingEndpoint
from barograph_server.streams.evaluator.judges.rubric import JudgedTexts, Rubric, parse_rubric
from barograph_server.streams.evaluator.settings import EvaluatorSettings, JudgeEndpoint, call_metrics
from barograph_server.streams.unencrypted import is_loopback

_KEY = "evaluator.key"
_OF_EVENTS = frozenset(("prompt", "answer"))
"""Inputs of rubrics that events contain; `context` is selected from documents."""
_WITHOUT_LINE = (None, JudgeErrorCode.BREAKER)
"""Errors without a line of the log: that of a breaker repeats the ones that opened it, for every answer."""


class JudgeEvaluators:
    """Builds judges. Those with the same endpoint share its connections and its circuit breaker."""

    def __init__(self, settings: EvaluatorSettings, sleep: Callable[[float], bool]) -> None:
        """Prepare the endpoints; nothing is sent.

        Args:
            sleep: waits for a number of seconds and returns whether a stop was requested.
        """
        self._settings, self._sleep = settings, sleep
        self._described = settings.endpoints_by_name()
        self._endpoints: dict[str, RetryingEndpoint] = {}
        self._log = structlog.get_logger().bind(processor="evaluator")
        for endpoint in self._described.values():
            parts = urlsplit(endpoint.url)
            if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
                action = "Use https: the endpoint receives texts of answers, and the key."
                self._log.warning("judge is not encrypted", endpoint=endpoint.name, action=action)

    def build(self, evaluator: Evaluator, folder: Path) -> tuple[Check, str]:
        """Build a judge of the contract, or self-consistency, and return it with its version."""
        path = folder / evaluator.judge
        try:
            if evaluator.consistency:
                model = self._endpoint(evaluator.endpoint)
                described = self._described[evaluator.endpoint]
                return build_consistency(evaluator, model, described, self._settings.timeout_s)
            rubric = parse_rubric(read_file(path), str(path))
            judge = Judge(rubric, [self._endpoint(evaluator.endpoint)])
        except (ContractError, JudgeSettingsError) as error:
            raise SetupError(str(error)) from error
        _require_inputs(rubric, evaluator, path)
        context, version = _context(evaluator, folder, judge.version)
        endpoint = self._described[evaluator.endpoint]

        def evaluate(answer: Answer) -> Evaluation:
            if answer.is_cut:
                return failed(NoResult.ANSWER_CUT)
            if "prompt" in rubric.inputs and answer.question is None:
                return failed(NoResult.NO_QUESTION)
            try:
                documents = context.select(answer.question or "", answer.text) if context else ""
            except AnswerCheckError:
                return failed(NoResult.TOO_LONG)
            verdict = judge.evaluate(JudgedTexts(answer.question or "", answer.text, documents))
            if verdict.error not in _WITHOUT_LINE:
                self._log.warning("no verdict", endpoint=endpoint.name, error=verdict.error, reason=verdict.message)
            return _evaluation(verdict, endpoint)

        return evaluate, version

    def close(self) -> None:
        """Close the connections that are kept for later calls."""
        for endpoint in self._endpoints.values():
            endpoint.close()

    def _endpoint(self, name: str) -> RetryingEndpoint:
        if name not in self._described:
            known = ", ".join(self._described) or "none"
            raise SetupError(f"evaluator.endpoints has no {name}; it has {known}")
        if name not in self._endpoints:
            described, key = self._described[name], self._settings.key
            chat = ChatEndpointSettings(
                described.url, described.model, _KEY if key else "", timeout_s=self._settings.timeout_s
            )
            environ: Mapping[str, str] = {_KEY: key}
            retries = CallRetries(limit_s=self._settings.timeout_s)
            self._endpoints[name] = RetryingEndpoint(ChatEndpoint(chat, environ), retries, sleep=self._sleep)
        return self._endpoints[name]


def _require_inputs(rubric: Rubric, evaluator: Evaluator, path: Path) -> None:
    """Raise `SetupError` unless events and documents have the inputs of a rubric."""
    lacking = sorted(set(rubric.inputs) - _OF_EVENTS - {"context"})
    if lacking:
        raise SetupError(
            f"the rubric {path} has the input {', '.join(lacking)}, which events do not contain; use prompt, answer "
            "and context"
        )
    if "context" in rubric.inputs and not evaluator.documents:
        raise SetupError(
            f"the rubric {path} has the input context, which events do not contain; add documents: FOLDER to the "
            "evaluator in the contract"
        )
    if evaluator.documents and "context" not in rubric.inputs:
        raise SetupError(
            f"the rubric {path} has no input context, so documents have no effect; add context to its inputs, or "
            "remove documents from the contract"
        )


def _context(evaluator: Evaluator, folder: Path, judge_version: str) -> tuple[DocumentContext | None, str]:
    if not evaluator.documents:
        return None, judge_version
    digest = hashlib.sha256(json.dumps([judge_version, CONTEXT_RULES]).encode())
    try:
        context = DocumentContext(read_documents(folder / evaluator.documents, digest.update))
    except AnswerCheckError as error:
        raise SetupError(f"the documents {folder / evaluator.documents} cannot be used: {error}") from error
    return context, digest.hexdigest()[:12]


def _evaluation(verdict: JudgeVerdict, endpoint: JudgeEndpoint) -> Evaluation:
    metrics = call_metrics(endpoint, verdict.input_tokens, verdict.output_tokens, verdict.attempts)
    is_faulty = None if verdict.answer_class is None else verdict.answer_class == FAULTY
    error = None if verdict.error is None else verdict.error.value
    return Evaluation(is_faulty, verdict.score, metrics, error=error, reason=verdict.reason)


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
            if samples.error.code not in _WITHOUT_LINE:
                log.warning("no verdict", error=samples.error.code, reason=str(samples.error))
            return Evaluation(metrics=metrics, error=samples.error.code.value)
        if samples.mean_logprob is not None:
            metrics["mean_logprob"] = samples.mean_logprob
        agreement = mean_similarity(answer.text, samples.texts, COMPARISONS[comparison])
        return Evaluation(agreement < at_least, agreement, metrics)

    return evaluate, hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:12]
