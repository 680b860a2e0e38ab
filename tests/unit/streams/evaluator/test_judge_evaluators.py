"""Judges as the evaluator runs them, with a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from barograph.contract.evaluators import Evaluator

from streams.evaluator.answer import Answer
from streams.evaluator.check_evaluators import Check, SetupError
from streams.evaluator.judge_evaluators import JudgeEvaluators
from streams.evaluator.settings import EvaluatorSettings
from tests.support.judge_server import Answer as ServerAnswer
from tests.support.judge_server import JudgeServer, always

RUBRIC = """
rubric: 1
name: faithful
question: Does the context support the answer?
scale: {faulty: It does not., sound: It does.}
inputs: [prompt, context, answer]
"""
SOUND = json.dumps({"reason": "It does.", "class": "sound"})
JUDGE = Evaluator(judge="faithful.yaml", endpoint="small", documents="documents")
Start = Callable[[ServerAnswer], "Judges"]


class Judges:
    """A server, and judges that call it."""

    def __init__(self, answer: ServerAnswer, folder: Path) -> None:
        self.server = JudgeServer(answer)
        self._folder = folder
        settings = EvaluatorSettings(endpoints=f"small=m@{self.server.url}#1/2", timeout_s=5.0)
        self._evaluators = JudgeEvaluators(settings, threading.Event().wait)

    def build(self, evaluator: Evaluator) -> tuple[Check, str]:
        return self._evaluators.build(evaluator, self._folder)

    def stop(self) -> None:
        self._evaluators.close()
        self.server.stop()


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start judges whose server answers as a function says."""
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


def answer(text: str, question: str | None = "How long may I return goods?") -> Answer:
    return Answer("bot", "1", "a", 0, text, question)


def test_a_judge_with_documents_receives_those_that_the_answer_cites(start: Start) -> None:
    judges = start(always(SOUND))
    evaluate, _ = judges.build(JUDGE)
    result = evaluate(answer("60 days [returns]."))
    assert (result.is_faulty, result.error) == (False, None)
    message = judges.server.bodies[0]["messages"][-1]["content"]
    assert "[returns]\nCustomers may return goods within 30 days.\n" in message


def test_an_answer_without_documents_has_no_result_and_costs_no_call(start: Start) -> None:
    judges = start(always(SOUND))
    evaluate, _ = judges.build(JUDGE)
    result = evaluate(answer("Hello!", "Who are you?"))
    assert (result.is_faulty, result.error, result.metrics) == (None, "judge-missing-input", {"calls": 0.0})
    assert not judges.server.bodies


def test_the_version_depends_on_the_documents(start: Start, folder: Path) -> None:
    judges = start(always(SOUND))
    first = judges.build(JUDGE)[1]
    assert judges.build(JUDGE)[1] == first
    (folder / "documents" / "returns.md").write_text("Customers may return goods within 60 days.", encoding="utf-8")
    assert judges.build(JUDGE)[1] != first


def test_documents_without_a_use_and_documents_that_cannot_be_used_are_errors(start: Start, folder: Path) -> None:
    judges = start(always(SOUND))
    (folder / "plain.yaml").write_text(RUBRIC.replace("context, ", ""), encoding="utf-8")
    with pytest.raises(SetupError, match="no input context, so documents have no effect"):
        judges.build(Evaluator(judge="plain.yaml", endpoint="small", documents="documents"))
    (folder / "documents" / "RETURNS.txt").write_text("Never.", encoding="utf-8")
    with pytest.raises(SetupError, match="differ in case only"):
        judges.build(JUDGE)
