"""Self-consistency, with values computed by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from barograph.prompts.content import PromptMessage

from streams.evaluator.judges.consistency import (
    SelfConsistency,
    exact_match,
    mean_agreement,
    measure_consistency,
    normalized_match,
    sample_consistency,
    token_jaccard,
)
from streams.evaluator.judges.errors import JudgeError
from tests.support.judge_server import Answer, JudgeServer, always, chat, send

Serve = Callable[[Answer], JudgeServer]


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


def test_golden_values() -> None:
    # Ten pairs: 3 of Paris, 1 of "paris." with each of the 3, and 4 with Lyon.
    samples = ["Paris", "Paris", "Paris", "paris.", "Lyon"]
    result = measure_consistency("Paris", samples, -0.25)
    assert result == SelfConsistency(5, 3 / 10, 6 / 10, 6 / 10, 4 / 5, -0.25)


def test_too_few_samples() -> None:
    assert mean_agreement(["a"], exact_match) is None
    assert measure_consistency("a", []) == SelfConsistency(0, None, None, None, None, None)


def test_samples_of_an_endpoint(serve: Serve) -> None:
    def answer(handler: object, body: dict[str, object], n: int) -> None:
        text = ("Paris", "Lyon", "Paris")[n] if body["temperature"] else "greedy"
        send(handler, chat(text, [-1.0, -2.0] if body.get("logprobs") else None))  # type: ignore[arg-type]

    server = serve(answer)
    messages = (PromptMessage("user", "Capital?"),)
    result = sample_consistency(server.endpoint(), messages, "Paris", 3)
    assert result == SelfConsistency(3, 1 / 3, 1 / 3, 1 / 3, 2 / 3, -1.5)
    assert [(body["temperature"], body["seed"]) for body in server.bodies] == [(0.8, 1), (0.8, 2), (0.8, 3), (0.0, 1)]
    without = sample_consistency(serve(always("x")).endpoint(), messages, "x", 2, logprob=False)
    assert (without.exact, without.mean_logprob) == (1.0, None)


def test_a_failed_sample_is_an_error(serve: Serve) -> None:
    server = serve(lambda handler, body, n: send(handler, chat("a") if n else b"", 200 if n else 500))
    with pytest.raises(JudgeError):
        sample_consistency(server.endpoint(), (PromptMessage("user", "Capital?"),), "a", 2)
