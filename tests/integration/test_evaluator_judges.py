"""Judges in the evaluator: an endpoint that flaps or fails, a budget, a kill, a change of the rubric."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluators import Evaluator, EvaluatorBudget

from tests.integration.test_evaluator import answer_event, evaluations, register, wait_evaluations
from tests.support.judge_server import JudgeServer, chat, send
from tests.support.pipeline import Pipeline, simple_contract, wait_for
from tests.support.scripted_http import Exchange

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
        self.supported = ""
        """If this is set, nothing fails, and answers are sound whose messages contain it."""
        self.further: tuple[str, ...] = ()
        """If this is set, nothing fails, and samples are these texts in turn."""
        self.hangs_until: threading.Event | None = None

    def __call__(self, handler: Exchange, body: dict[str, Any], number: int) -> None:
        if self.hangs_until is not None:
            self.hangs_until.wait(60)
        if self.further:
            logprobs = [-0.25] if body.get("logprobs") else None
            send(handler, chat(self.further[body["seed"] - 1] if body["temperature"] else "30 days", logprobs))
            return
        if self.supported:
            is_sound = self.supported in json.dumps(body["messages"])
            send(handler, chat(json.dumps({"reason": "", "class": "sound" if is_sound else "faulty"})))
            return
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


def outcome_of(event: dict[str, Any]) -> str:
    """Return why an evaluation has no result; `class` if it has one."""
    return str(event.get("error") or event.get("status") or "class")


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
        if outcome_of(event) != "class":
            assert outcome_of(event) in ("judge-prose", "judge-overloaded", "judge-breaker", "skipped-lag")
            assert "class" not in event
            continue
        assert event["class"] == ("faulty" if i % 2 else "sound")
        assert event["context"]["answer_text"] == "Ask <email>."
        assert event["metrics"]["input_tokens"] == 11
        assert event["metrics"]["cost_usd"] == pytest.approx((11 * 0.5 + 7 * 2) / 1e6)
    outcomes = Counter(outcome_of(event) for event in events)
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
    outcomes = Counter(outcome_of(event) for event in wait_evaluations(pipeline, n))
    pipeline.alive()
    # Five minutes' worth at once, and a little for the time that passed; attempts beyond the first count too.
    assert 90 <= outcomes["skipped-budget"] < n
    assert outcomes["class"] >= 5, outcomes
    assert len(evaluations(pipeline)) == n


def test_an_endpoint_that_fails_delays_nobody(
    pipeline: Pipeline, endpoint: FlappingEndpoint, server: JudgeServer, folder: Path
) -> None:
    endpoint.is_down = True
    pipeline.create(2)
    register(pipeline, contract())
    produce(pipeline, range(200))
    start(pipeline, server, folder, timeout_s=1.0)
    outcomes = Counter(outcome_of(event) for event in wait_evaluations(pipeline, 200))
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
    assert {outcome_of(event) for event in first} == {"skipped-lag"}
    assert not any("error" in event for event in first), "what is skipped on purpose is no failure"
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


def test_a_judge_reads_the_documents_that_answers_cite(
    pipeline: Pipeline, server: JudgeServer, endpoint: FlappingEndpoint, folder: Path
) -> None:
    endpoint.supported = "Customers may return goods within 30 days."
    (folder / "documents").mkdir()
    (folder / "documents" / "returns.md").write_text(endpoint.supported, encoding="utf-8")
    (folder / "documents" / "shipping.md").write_text("Parcels arrive within three days.", encoding="utf-8")
    (folder / "faithful.yaml").write_text(RUBRIC + "inputs: [context, answer]\n", encoding="utf-8")
    pipeline.create(2)
    register(pipeline, contract(documents="documents"))
    start(pipeline, server, folder)
    sources = ("returns", "shipping", "tariffs")
    events = (answer_event(i, f"30 days [{sources[i % 3]}].") for i in range(30))
    pipeline.produce((i % 2, event, None) for i, event in enumerate(events))
    events_read = {event["id"]: event for event in wait_evaluations(pipeline, 30)}
    assert len({event["version"] for event in events_read.values()}) == 1
    for i in range(30):
        event = events_read[f"a{i}"]
        # An unknown source is none, and then the document with the same words is the context.
        assert event.get("class", outcome_of(event)) == ("faulty" if sources[i % 3] == "shipping" else "sound")
    (folder / "documents" / "returns.md").write_text(endpoint.supported + " Not software.", encoding="utf-8")

    def changed() -> bool:
        n = 100 + len(evaluations(pipeline))
        pipeline.produce([(0, answer_event(n, "30 days [returns]."), None)])
        return len({event["version"] for event in evaluations(pipeline)}) == 2

    wait_for(changed, "a second version")


def test_self_consistency_is_a_judge_with_several_calls(
    pipeline: Pipeline, server: JudgeServer, endpoint: FlappingEndpoint, folder: Path
) -> None:
    endpoint.further = ("30 days.", "30 Days", "60 days")
    pipeline.create(2)
    agrees = Evaluator(consistency=3, endpoint="small", at_least=0.5, compare="normalized")
    own = contract()
    register(pipeline, msgspec.structs.replace(own, evaluators={"agrees": agrees}))
    start(pipeline, server, folder, parallel=1)
    texts = ("30 days", "60 days", "Never")
    pipeline.produce((i % 2, answer_event(i, texts[i % 3]), None) for i in range(30))
    cut = {"prompt": "answer@7", "answer_text": "30 days", "prompt_text": "How long <cut>"}
    pipeline.produce([(0, answer_event(30, context=cut), None)])
    events = {event["id"]: event for event in wait_evaluations(pipeline, 31)}
    for i in range(30):
        event = events[f"a{i}"]
        assert event["model"] == "toy.agrees"
        assert event["context"]["kind"] == "judge"
        assert (event["class"], event["score"]) == [("sound", 2 / 3), ("faulty", 1 / 3), ("faulty", 0.0)][i % 3]
        assert event["metrics"]["calls"] == 4
        assert event["metrics"]["mean_logprob"] == -0.25
        assert event["metrics"]["cost_usd"] == pytest.approx(4 * (11 * 0.5 + 7 * 2) / 1e6)
    assert outcome_of(events["a30"]) == "no-question"
    assert len(server.bodies) == 120
    assert all(body["messages"] == [{"role": "user", "content": "May I return it?"}] for body in server.bodies)


def test_an_endpoint_that_hangs_delays_checks_by_a_limited_time(
    pipeline: Pipeline, endpoint: FlappingEndpoint, server: JudgeServer, folder: Path
) -> None:
    endpoint.hangs_until = server.stopping
    pipeline.create(2)
    own = contract()
    own = msgspec.structs.replace(own, evaluators={**own.evaluators, "refuses": Evaluator(check="refusal")})
    register(pipeline, own)
    produce(pipeline, range(60))
    start(pipeline, server, folder, timeout_s=2.0)
    events = wait_evaluations(pipeline, 120, patience_s=100.0)
    outcomes = Counter((event["model"], outcome_of(event)) for event in events)
    assert outcomes["toy.refuses", "class"] == 60
    judged = {outcome for model, outcome in outcomes if model == "toy.faithful"}
    assert judged <= {"judge-timeout", "judge-breaker", "skipped-lag"}
    assert "judge-timeout" in judged
    # A stop does not wait for calls.
    produce(pipeline, range(100, 140))
    wait_for(lambda: len(server.bodies) > 0, "a call")
    pipeline.stop()
    stopped = [json.loads(line) for line in pipeline.log("evaluator-0").splitlines() if '"stopped"' in line]
    assert [line["reason"] for line in stopped] == ["requested"]
