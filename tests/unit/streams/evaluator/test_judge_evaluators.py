"""Judges as the evaluator runs them with a real server, their settings, and judges that cannot be set up."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from barograph.contract.evaluators import Evaluator
from barograph.text.content import CUT
from structlog.testing import capture_logs

from barograph_server.errors import SettingsError
from barograph_server.settings import load_settings
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.check_evaluators import Check, SetupError
from barograph_server.streams.evaluator.judge_evaluators import JudgeEvaluators
from barograph_server.streams.evaluator.settings import EvaluatorSettings, JudgeEndpoint, cost_usd
from tests.support.judge_server import Answer as ServerAnswer
from tests.support.judge_server import JudgeServer, always, chat, send
from tests.support.scripted_http import Exchange

RUBRIC = """
rubric: 1
name: faithful
question: Does the context support the answer?
scale: {faulty: It does not., sound: It does.}
inputs: [prompt, context, answer]
"""
SOUND = json.dumps({"reason": "It does.", "class": "sound"})
AGREES = Evaluator(consistency=4, endpoint="small", at_least=0.5, compare="normalized")
JUDGE = Evaluator(judge="faithful.yaml", endpoint="small", documents="documents")
QUESTION = "How long may I return goods?"
Start = Callable[[ServerAnswer], "Judges"]


class Judges:
    def __init__(self, answer: ServerAnswer, folder: Path) -> None:
        self.server = JudgeServer(answer)
        self._folder = folder
        settings = EvaluatorSettings(endpoints=(JudgeEndpoint("small", "m", self.server.url, 1.0, 2.0),), timeout_s=5.0)
        self._evaluators = JudgeEvaluators(settings, threading.Event().wait)

    def build(self, evaluator: Evaluator) -> tuple[Check, str]:
        return self._evaluators.build(evaluator, self._folder)

    def stop(self) -> None:
        self._evaluators.close()
        self.server.stop()


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    started: list[Judges] = []

    def start(answer: ServerAnswer) -> Judges:
        started.append(Judges(answer, folder))
        return started[-1]

    yield start
    for judges in started:
        judges.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "returns.md").write_text("Customers may return goods within 30 days.", encoding="utf-8")
    (tmp_path / "faithful.yaml").write_text(RUBRIC, encoding="utf-8")
    return tmp_path


def answer(text: str, question: str | None = QUESTION) -> Answer:
    return Answer("bot", "1", "a", 0, text, question)


def test_a_judge_with_documents_receives_those_the_answer_cites_or_is_not_called(start: Start, folder: Path) -> None:
    judges = start(always(SOUND))
    evaluate, first = judges.build(JUDGE)
    result = evaluate(answer("60 days [returns]."))
    assert (result.is_faulty, result.error) == (False, None)
    message = judges.server.bodies[0]["messages"][-1]["content"]
    assert "[returns]\nCustomers may return goods within 30 days.\n" in message
    result = evaluate(answer("Hello!", "Who are you?"))
    assert (result.is_faulty, result.error, result.metrics) == (None, "judge-missing-input", {"calls": 0.0})
    assert len(judges.server.bodies) == 1
    # The version depends on the documents.
    assert judges.build(JUDGE)[1] == first
    (folder / "documents" / "returns.md").write_text("Customers may return goods within 60 days.", encoding="utf-8")
    assert judges.build(JUDGE)[1] != first


def test_self_consistency_compares_further_answers_with_the_answer(start: Start) -> None:
    def respond(handler: Exchange, body: dict[str, Any], number: int) -> None:
        text = ("30 days.", "60 days", "30 Days", "Never.")[number % 5] if body["temperature"] else "30 days"
        send(handler, chat(text, [-0.5, -1.5] if body.get("logprobs") else None))

    judges = start(respond)
    evaluate, _ = judges.build(AGREES)
    result = evaluate(answer("30 days"))
    assert (result.is_faulty, result.score, result.error) == (False, 0.5, None)
    assert result.metrics == {
        **{"input_tokens": 55.0, "output_tokens": 35.0, "cost_usd": pytest.approx((55 + 2 * 35) / 1e6)},
        **{"calls": 5.0, "mean_logprob": -1.0},
    }
    assert all(each["messages"] == [{"role": "user", "content": QUESTION}] for each in judges.server.bodies)
    assert {(each["temperature"], each["max_tokens"]) for each in judges.server.bodies} == {(0.8, 1_000), (0.0, 1_000)}
    faulty = evaluate(answer("In an hour"))
    assert (faulty.is_faulty, faulty.score) == (True, 0.0)
    # Log probabilities are requested once of a server without them.
    judges = start(always("30 days"))
    evaluate, _ = judges.build(AGREES)
    first, second = evaluate(answer("30 days")), evaluate(answer("30 days"))
    assert (first.score, first.metrics["calls"], second.score, second.metrics["calls"]) == (1.0, 5.0, 1.0, 4.0)
    assert "mean_logprob" not in first.metrics
    assert sum("logprobs" in body for body in judges.server.bodies) == 1


def test_self_consistency_without_a_result(start: Start) -> None:
    judges = start(lambda handler, body, number: send(handler, chat("30 days", finish_reason="length")))
    evaluate, _ = judges.build(AGREES)
    assert evaluate(answer("30 days", None)).error == evaluate(answer("30 days", "How" + CUT)).error == "no-question"
    assert evaluate(answer("30" + CUT)).error == "answer-cut"
    assert not judges.server.bodies
    result = evaluate(answer("30 days"))
    assert (result.is_faulty, result.score, result.error) == (None, None, "judge-cut")
    assert (result.metrics["calls"], result.metrics["output_tokens"]) == (1.0, 7.0)


def test_the_version_of_self_consistency_depends_on_all_that_decides_it(start: Start) -> None:
    judges = start(always("x"))
    changes: list[dict[str, Any]] = [{}, {"consistency": 5}, {"at_least": 0.6}, {"compare": "exact"}]
    changes += [{"temperature": 1.0}, {"max_tokens": 20}]
    versions = {judges.build(msgspec.structs.replace(AGREES, **change))[1] for change in changes}
    assert len(versions) == len(changes)
    same: list[dict[str, Any]] = [{"share": 0.5}, {"temperature": 0.8}, {"max_tokens": 1_000}]
    assert all(judges.build(msgspec.structs.replace(AGREES, **each))[1] in versions for each in same)
    with pytest.raises(SetupError, match="has no large; it has small"):
        judges.build(msgspec.structs.replace(AGREES, endpoint="large"))


SMALL = JudgeEndpoint("small", "m", "http://127.0.0.1:8080/v1")


def judges(*endpoints: JudgeEndpoint) -> JudgeEvaluators:
    return JudgeEvaluators(EvaluatorSettings(endpoints=endpoints or (SMALL,)), threading.Event().wait)


def read(text: str) -> EvaluatorSettings:
    """Read endpoints as the variable of the environment holds them."""
    return load_settings(needs=(), environ={"BAROGRAPH_EVALUATOR_ENDPOINTS": text}, find=lambda: None).evaluator


def test_endpoints_are_read_with_their_prices_and_one_without_encryption_is_logged() -> None:
    text = (
        "{small: {model: 'org/m:1', url: 'https://host/v1/', input: 0.15, output: 0.6}, "
        "other: {model: n, url: 'http://[::1]:80/v1'}}"
    )
    small, other = read(text).endpoints_by_name().values()
    assert small == JudgeEndpoint("small", "org/m:1", "https://host/v1/", 0.15, 0.6)
    assert (other.name, other.url, other.input_price) == ("other", "http://[::1]:80/v1", 0.0)
    assert cost_usd(small, {"input_tokens": 1e6, "output_tokens": 1e6}) == pytest.approx(0.75)
    assert EvaluatorSettings().endpoints_by_name() == {}
    urls = {"near": "http://127.0.0.1/v1", "tls": "https://host/v1", "far": "http://host/v1"}
    with capture_logs() as lines:
        judges(*(JudgeEndpoint(name, "m", url) for name, url in urls.items()))
    assert [(line["event"], line["endpoint"]) for line in lines] == [("judge is not encrypted", "far")]


def test_endpoints_that_cannot_be_read_are_errors_without_secrets() -> None:
    for text, message in (
        ("small", "write a map"),
        ("{small: {model: m}}", "small.url: is missing; write url: http://HOST:PORT/v1"),
        (
            "{small: {model: m, url: 'ftp://host/v1'}}",
            "small.url: is no address of http or https; write http://HOST:PO",
        ),
        ("{small: {model: m, url: 'http://host:port/v1'}}", "small.url: is no valid address"),
        ("{small: {model: m, url: 'http://[::1'}}", "small.url: is no valid address"),
        ("{small: {model: m, url: 'http://host/v1#1/2'}}", "small.url: has a part after #; remove it"),
        ("{small: {model: m, url: 'http://user:secret-1@host/v1'}}", "small.url: holds a user name or a password"),
        ("{small: {model: m, url: 'http://host/v1', output: -2}}", "small.output: -2 is out of range"),
        ("{a: {model: m, url: 'http://host'}, a: {model: m, url: 'http://host'}}", "a: occurs twice"),
    ):
        with pytest.raises(SettingsError, match=re.escape(message)) as raised:
            read(text)
        assert "secret-1" not in str(raised.value)
    with pytest.raises(ProcessorError, match=r"evaluator\.key"):
        EvaluatorSettings(key="two words").endpoints_by_name()


@pytest.mark.parametrize(
    ("text", "endpoint", "message"),
    [
        (RUBRIC, "large", "evaluator.endpoints has no large; it has small"),
        (RUBRIC.replace("question", "questions"), "small", "questions"),
        (RUBRIC, "small", "documents: FOLDER"),
        (RUBRIC.replace("context, ", "reference, "), "small", "input reference, which events do not contain"),
        ("", "small", "faithful.yaml"),
    ],
)
def test_a_judge_that_cannot_be_set_up_is_an_error(tmp_path: Path, text: str, endpoint: str, message: str) -> None:
    (tmp_path / "faithful.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SetupError, match=message):
        judges().build(Evaluator(judge="faithful.yaml", endpoint=endpoint), tmp_path)
    with pytest.raises(SetupError, match="cannot be read"):
        judges().build(Evaluator(judge="none.yaml", endpoint=endpoint), tmp_path)


def test_documents_without_a_use_and_documents_with_equal_ids_are_errors(folder: Path) -> None:
    (folder / "plain.yaml").write_text(RUBRIC.replace("context, ", ""), encoding="utf-8")
    with pytest.raises(SetupError, match=r"plain\.yaml has no input context, so documents have no effect"):
        judges().build(msgspec.structs.replace(JUDGE, judge="plain.yaml"), folder)
    (folder / "documents" / "RETURNS.txt").write_text("Never.", encoding="utf-8")
    with pytest.raises(SetupError, match=r"documents cannot be used: .* differ in case only"):
        judges().build(JUDGE, folder)
