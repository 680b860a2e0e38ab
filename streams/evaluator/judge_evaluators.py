"""Evaluators that are language models: a rubric, and an endpoint of the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from barograph.contract.evaluators import FAULTY, Evaluator
from barograph.contract.problems import ContractError

from streams.evaluator.answer import Answer
from streams.evaluator.check_evaluators import Check, SetupError, read_file
from streams.evaluator.evaluation import Evaluation, NoResult, failed
from streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings
from streams.evaluator.judges.errors import JudgeSettingsError
from streams.evaluator.judges.judge import Judge, JudgeVerdict
from streams.evaluator.judges.retries import CallRetries, RetryingEndpoint
from streams.evaluator.judges.rubric import JudgedTexts, parse_rubric
from streams.evaluator.settings import EvaluatorSettings, JudgeEndpoint, cost_usd
from streams.unencrypted import is_loopback

_KEY = "evaluator.key"
_OF_EVENTS = frozenset(("prompt", "answer"))
"""Inputs of rubrics that events contain."""


class JudgeEvaluators:
    """Builds judges. Those with the same endpoint share its connections and its circuit breaker."""

    def __init__(self, settings: EvaluatorSettings, sleep: Callable[[float], bool]) -> None:
        """Prepare the endpoints; nothing is sent.

        Args:
            settings: the endpoints.
            sleep: waits for a number of seconds and returns whether a stop was requested.

        Raises:
            ProcessorError: the endpoints cannot be read.
        """
        self._settings, self._sleep = settings, sleep
        self._described = settings.parsed_endpoints()
        self._endpoints: dict[str, RetryingEndpoint] = {}
        self._log = structlog.get_logger().bind(processor="evaluator")
        for endpoint in self._described.values():
            parts = urlsplit(endpoint.url)
            if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
                action = "Use https: the endpoint receives texts of answers, and the key."
                self._log.warning("judge is not encrypted", endpoint=endpoint.name, action=action)

    def build(self, evaluator: Evaluator, folder: Path) -> tuple[Check, str]:
        """Build a judge, and return it with its version.

        Args:
            evaluator: the judge in the contract.
            folder: the folder with the files of evaluators.

        Raises:
            SetupError: the rubric is missing or wrong, or the settings have no such endpoint.
        """
        path = folder / evaluator.judge
        try:
            rubric = parse_rubric(read_file(path), str(path))
            judge = Judge(rubric, [self._endpoint(evaluator.endpoint)])
        except (ContractError, JudgeSettingsError) as error:
            raise SetupError(str(error)) from error
        lacking = sorted(set(rubric.inputs) - _OF_EVENTS)
        if lacking:
            raise SetupError(
                f"the rubric {path} has the inputs {', '.join(lacking)}, which events do not contain; use prompt and "
                "answer"
            )
        endpoint = self._described[evaluator.endpoint]

        def evaluate(answer: Answer) -> Evaluation:
            if answer.is_cut:
                return failed(NoResult.ANSWER_CUT)
            if "prompt" in rubric.inputs and answer.question is None:
                return failed(NoResult.NO_QUESTION)
            verdict = judge.evaluate(JudgedTexts(answer.question or "", answer.text))
            if verdict.error is not None:
                self._log.warning("no verdict", endpoint=endpoint.name, error=verdict.error, reason=verdict.message)
            return _evaluation(verdict, endpoint)

        return evaluate, judge.version

    def close(self) -> None:
        """Close the connections of all judges."""
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


def _evaluation(verdict: JudgeVerdict, endpoint: JudgeEndpoint) -> Evaluation:
    counts = {"input_tokens": verdict.input_tokens, "output_tokens": verdict.output_tokens}
    metrics = {name: float(count) for name, count in counts.items() if count is not None}
    if metrics and (endpoint.input_price or endpoint.output_price):
        metrics["cost_usd"] = cost_usd(endpoint, metrics)
    metrics["calls"] = float(verdict.attempts)
    is_faulty = None if verdict.answer_class is None else verdict.answer_class == FAULTY
    error = None if verdict.error is None else verdict.error.value
    return Evaluation(is_faulty, verdict.score, metrics, error=error, reason=verdict.reason)
