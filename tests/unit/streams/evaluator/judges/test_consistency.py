"""Self-consistency, with values computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from barograph.contract.evaluators import COMPARISONS as COMPARISON_NAMES
from barograph.prompts.content import PromptMessage

from barograph_server.streams.evaluator.judges.chat import ChatParameters
from barograph_server.streams.evaluator.judges.consistency import (
    COMPARISONS,
    AnswerSamples,
    exact_match,
    mean_similarity,
    normalized_match,
    sample_answers,
    token_jaccard,
)
from barograph_server.streams.evaluator.judges.errors import JudgeErrorCode
from tests.support.judge_server import Answer, JudgeServer, always, chat, send
from tests.support.scripted_http import Exchange

Serve = Callable[[Answer], JudgeServer]
MESSAGES = (PromptMessage("user", "Capital?"),)
PARAMETERS = ChatParameters(0.8, 50)


def test_the_mean_similarity_by_every_comparison_of_contracts() -> None:
    assert set(COMPARISON_NAMES) == set(COMPARISONS)
    samples = ["Paris", "Paris", "paris.", "Lyon"]
    means = {name: mean_similarity("Paris", samples, similarity) for name, similarity in COMPARISONS.items()}
    assert means == {"exact": 2 / 4, "normalized": 3 / 4, "tokens": 3 / 4}


@pytest.mark.parametrize(
    ("one", "other", "exact", "normalized", "jaccard"),
    [
        ("Paris", " Paris\n", 1.0, 1.0, 1.0),
        ("Paris", "paris.", 0.0, 1.0, 1.0),
        ("1,000 euros", "1000 Euros!", 0.0, 1.0, 1.0),
        ("red blue", "blue red", 0.0, 0.0, 1.0),
        ("red blue", "red green", 0.0, 0.0, 1 / 3),
        ("red", "green", 0.0, 0.0, 0.0),
        ("", " ", 1.0, 1.0, 1.0),
        ("", "red", 0.0, 0.0, 0.0),
    ],
)
def test_similarities(one: str, other: str, exact: float, normalized: float, jaccard: float) -> None:
    for first, second in ((one, other), (other, one)):
        assert exact_match(first, second) == exact
        assert normalized_match(first, second) == normalized
        assert token_jaccard(first, second) == pytest.approx(jaccard)


def test_samples_of_an_endpoint(serve: Serve) -> None:
    def answer(handler: Exchange, body: dict[str, Any], n: int) -> None:
        text = ("Paris", "Lyon", "Paris")[n] if body["temperature"] else "greedy"
        send(handler, chat(text, [-1.0, -2.0] if body.get("logprobs") else None))

    server = serve(answer)
    result = sample_answers(server.endpoint(), MESSAGES, 3, PARAMETERS)
    assert result == AnswerSamples(("Paris", "Lyon", "Paris"), -1.5, 44, 28, 4)
    assert [(body["temperature"], body["seed"]) for body in server.bodies] == [(0.8, 1), (0.8, 2), (0.8, 3), (0.0, 1)]
    without = sample_answers(serve(always("x")).endpoint(), MESSAGES, 2, PARAMETERS, logprob=False)
    assert without == AnswerSamples(("x", "x"), None, 22, 14, 2)


@pytest.mark.parametrize(("status", "lacks"), [(200, True), (400, True), (401, False), (500, False)])
def test_samples_count_without_log_probabilities(serve: Serve, status: int, lacks: bool) -> None:
    server = serve(lambda handler, body, n: send(handler, chat("a"), status if body.get("logprobs") else 200))
    result = sample_answers(server.endpoint(), MESSAGES, 2, PARAMETERS)
    assert (result.texts, result.error, result.mean_logprob) == (("a", "a"), None, None)
    assert (result.attempts, result.lacks_logprobs) == (3, lacks)


def test_a_failed_cut_or_late_sample_ends_it_and_what_was_used_counts(serve: Serve) -> None:
    server = serve(lambda handler, body, n: send(handler, chat("a") if n == 0 else b"", 200 if n == 0 else 500))
    result = sample_answers(server.endpoint(), MESSAGES, 3, PARAMETERS)
    assert result.error is not None
    assert (result.error.code, result.texts, result.attempts) == (JudgeErrorCode.ERROR, ("a",), 2)
    assert (result.input_tokens, result.output_tokens, result.lacks_logprobs) == (11, 7, False)
    server = serve(lambda handler, body, n: send(handler, chat("a", finish_reason="length" if n else "stop")))
    result = sample_answers(server.endpoint(), MESSAGES, 3, PARAMETERS)
    assert result.error is not None
    assert "Raise max_tokens" in str(result.error)
    assert (result.error.code, result.attempts, result.output_tokens) == (JudgeErrorCode.CUT, 2, 14)
    times = iter([0.0, 1.0, 4.0, 12.0])
    server = serve(always("a"))
    result = sample_answers(
        server.endpoint(), MESSAGES, 3, PARAMETERS, logprob=False, limit_s=10.0, clock=lambda: next(times)
    )
    assert result.error is not None
    assert (result.error.code, result.attempts, len(server.bodies)) == (JudgeErrorCode.TIMEOUT, 2, 2)
    assert "evaluator.timeout_s" in str(result.error)
