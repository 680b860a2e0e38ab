"""Judges in the evaluator: an endpoint that flaps or fails, a budget, a kill, a change of the rubric."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluators import Evaluator, EvaluatorBudget

from tests.integration.test_evaluator import answer_event, evaluations, register, wait_evaluations
from tests.support.judge_server import JudgeServer, chat, send
from tests.support.pipeline import Pipeline, simple_contract, wait_for

RUBRIC = """
rubric: 1
name: faithful
question: Is the answer right?
scale: {faulty: It is wrong., sound: It is right.}
"""
SECRET = "planted.person@secret.example"


class FlappingEndpoint:
    """Fails every third request, answers in prose at every seventh, and calls answers with an odd number faulty."""

    def __init__(self) -> None:
        self.is_down = False

    def __call__(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> None:
        if self.is_down or number % 3 == 1:
            send(handler, b"{}", 503)
            return
        if number % 7 == 3:
            send(handler, chat("It looks right to me."))
            return
        messages = json.dumps(body["messages"])
        verdict = "faulty" if any(f"answer {i} ends" in messages for i in range(1, 2_000, 2)) else "sound"
        send(handler, chat(json.dumps({"reason": f"Ask {SECRET}.", "class": verdict})))


@pytest.fixture
def endpoint() -> FlappingEndpoint:
    return FlappingEndpoint()


@pytest.fixture
def server(endpoint: FlappingEndpoint) -> Iterator[JudgeServer]:
    server = JudgeServer(endpoint)
    yield server
    server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "faithful.yaml").write_text(RUBRIC, encoding="utf-8")
    return tmp_path


def contract(**settings: Any) -> Contract:
    judge = Evaluator(judge="faithful.yaml", endpoint="small", **settings)
    return simple_contract(text=Text(content="redact", sample=1.0), evaluators={"faithful": judge})


def start(pipeline: Pipeline, server: JudgeServer, folder: Path, **settings: Any) -> None:
    endpoints = f"small=judge-1@{server.url}#0.5/2"
    pipeline.start("evaluator", evaluator={"folder": str(folder), "endpoints": endpoints, "key": "sk-1", **settings})


def produce(pipeline: Pipeline, numbers: range) -> None:
    pipeline.produce((i % 2, answer_event(i, f"This answer {i} ends."), None) for i in numbers)


def test_an_endpoint_that_flaps_and_an_evaluator_that_is_killed(
    pipeline: Pipeline, server: JudgeServer, folder: Path
) -> None:
    n = 300
    pipeline.create(2)
    register(pipeline, contract())
    produce(pipeline, range(n))
    start(pipeline, server, folder)
    wait_evaluations(pipeline, 20)
    pipeline.kill("evaluator-0")
    start(pipeline, server, folder)
    events = wait_evaluations(pipeline, n)
    pipeline.stop()
    assert len(evaluations(pipeline)) == n
    by_id = {event["id"]: event for event in events}
    assert sorted(by_id) == sorted(f"a{i}" for i in range(n))
    for i in range(n):
        event = by_id[f"a{i}"]
        assert event["context"]["kind"] == "judge"
        if "error" in event:
            assert event["error"] in ("judge-prose", "judge-overloaded", "judge-breaker")
            assert "class" not in event
            continue
        assert event["class"] == ("faulty" if i % 2 else "sound")
        assert event["context"]["answer_text"] == "Ask <email>."
        assert event["metrics"]["input_tokens"] == 11
        assert event["metrics"]["cost_usd"] == pytest.approx((11 * 0.5 + 7 * 2) / 1e6)
    outcomes = Counter(event.get("error", "class") for event in events)
    assert outcomes["class"] > n // 2
    assert outcomes["judge-prose"] > 0
    everything = json.dumps(events) + pipeline.log("evaluator-0")
    assert SECRET not in everything
    assert "sk-1" not in everything
    assert server.headers[0]["Authorization"] == "Bearer sk-1"


def test_a_budget_skips_what_it_does_not_cover(pipeline: Pipeline, server: JudgeServer, folder: Path) -> None:
    n = 120
    pipeline.create(2)
    register(pipeline, contract(budget=EvaluatorBudget(calls=240)))
    produce(pipeline, range(n))
    start(pipeline, server, folder)
    outcomes = Counter(event.get("error", "class") for event in wait_evaluations(pipeline, n))
    pipeline.alive()
    # Five minutes' worth at once, and a little for the time that passed; attempts beyond the first count too.
    assert 90 <= outcomes["skipped-budget"] < n
    assert outcomes["class"] >= 5
    assert len(evaluations(pipeline)) == n


def test_an_endpoint_that_fails_delays_nobody(
    pipeline: Pipeline, endpoint: FlappingEndpoint, server: JudgeServer, folder: Path
) -> None:
    endpoint.is_down = True
    pipeline.create(2)
    register(pipeline, contract())
    produce(pipeline, range(200))
    start(pipeline, server, folder, timeout_s=1.0)
    outcomes = Counter(event.get("error", "class") for event in wait_evaluations(pipeline, 200))
    assert set(outcomes) <= {"judge-overloaded", "judge-breaker"}
    assert outcomes["judge-breaker"] > 100
    endpoint.is_down = False

    def recovered() -> bool:
        produce(pipeline, range(1_000 + 2 * len(evaluations(pipeline)), 1_002 + 2 * len(evaluations(pipeline))))
        return any("class" in event for event in evaluations(pipeline))

    wait_for(recovered, "a verdict after the pause of the breaker")


def test_answers_of_long_ago_are_skipped(pipeline: Pipeline, server: JudgeServer, folder: Path) -> None:
    pipeline.create(2)
    register(pipeline, contract())
    produce(pipeline, range(10))
    time.sleep(1.5)  # the age since receipt is what is tested
    start(pipeline, server, folder, lag_s=1.0)
    first = wait_evaluations(pipeline, 10)
    assert {event.get("error") for event in first} == {"skipped-lag"}
    pipeline.stop()
    assert not server.bodies


def test_another_rubric_is_another_version(pipeline: Pipeline, server: JudgeServer, folder: Path) -> None:
    pipeline.create(2)
    register(pipeline, contract())
    start(pipeline, server, folder)
    produce(pipeline, range(2))
    before = {event["version"] for event in wait_evaluations(pipeline, 2)}
    (folder / "faithful.yaml").write_text(RUBRIC.replace("right?", "correct?"), encoding="utf-8")

    def changed() -> bool:
        produce(pipeline, range(100 + 2 * len(evaluations(pipeline)), 102 + 2 * len(evaluations(pipeline))))
        return len({event["version"] for event in evaluations(pipeline)} - before) == 1

    wait_for(changed, "a second version")
    (folder / "faithful.yaml").write_text(RUBRIC.replace("scale", "scales"), encoding="utf-8")
    wait_for(lambda: "scales" in pipeline.log("evaluator-0"), "the message about the rubric")
