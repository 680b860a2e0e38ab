"""A judge with a real language model: structured output, votes and log-probabilities of llama.cpp."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from barograph.prompts.content import PromptMessage

from barograph_server.local.language_model import MODEL, LocalLanguageModel
from barograph_server.streams.evaluator.judges.chat import ChatParameters
from barograph_server.streams.evaluator.judges.consistency import sample_answers
from barograph_server.streams.evaluator.judges.endpoint import ChatEndpoint, ChatEndpointSettings
from barograph_server.streams.evaluator.judges.judge import Judge
from barograph_server.streams.evaluator.judges.rubric import JudgedTexts, parse_rubric
from tests.reference.judge_attacks import RUBRIC

pytestmark = pytest.mark.llm


@pytest.fixture
def endpoint(language_model: LocalLanguageModel) -> Iterator[ChatEndpoint]:
    with closing(ChatEndpoint(ChatEndpointSettings(language_model.url, MODEL, timeout_s=300.0))) as endpoint:
        yield endpoint


def test_a_verdict(endpoint: ChatEndpoint) -> None:
    judge = Judge(parse_rubric(RUBRIC, "correct.yaml"), [endpoint], votes=3)
    verdict = judge.evaluate(JudgedTexts("What colour is snow?", "Black"))
    assert verdict.answer_class in ("faulty", "sound"), verdict.message
    assert [vote.error for vote in verdict.votes] == [None] * 3
    assert verdict.input_tokens is not None
    assert verdict.input_tokens > 600
    assert verdict.output_tokens is not None
    assert 3 * 3 < verdict.output_tokens <= 3 * 24


def test_self_consistency(endpoint: ChatEndpoint) -> None:
    messages = (PromptMessage("user", "What is the capital of France? Answer in one word."),)
    result = sample_answers(endpoint, messages, 2, ChatParameters(0.8, 200))
    assert result.error is None
    assert len(result.texts) == 2
    assert result.mean_logprob is not None
    assert -20.0 < result.mean_logprob < 0.0
