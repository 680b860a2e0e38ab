"""The evaluator: answers to evaluations, once each; with judges, budgets and endpoints that fail."""

import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluator_contracts import evaluator_contracts
from barograph.contract.evaluators import Evaluator, EvaluatorBudget

from barograph_server.evaluation.recorded import evaluate_recorded
from barograph_server.provisioning.plan import first_baselines
from barograph_server.settings import load_settings
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.recorded_answers import RecordedAnswers
from barograph_server.streams.evaluator.settings import EvaluatorSettings
from barograph_server.warehouse.evaluation.evaluation_rates import read_evaluation_rates
from tests.support.command_line import call_json, output_of, run
from tests.support.environment import kafka_lines, write_settings
from tests.support.judge_server import JudgeServer, chat, send
from tests.support.pipeline import PATIENCE_S, Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.scripted_http import Exchange
from tests.support.toy_events import messages

START_MS = 1_790_000_000_000
RETURNS = "Customers may return goods within 30 days of delivery."
TRUE = f"“{RETURNS[:-1]}” [returns]."
FALSE = TRUE.replace("30 days", "60 days")
EVALUATORS = {
    "cited": Evaluator(check="citations", documents="documents"),
    "refuses": Evaluator(check="refusal"),
    "half": Evaluator(check="pattern", pattern="goods", share=0.5),
}


def contract(**evaluators: Evaluator) -> Contract:
    return simple_contract(text=Text(content="redact", sample=1.0), evaluators=evaluators)


def answer_event(number: int, text: str | None = TRUE, **members: Any) -> bytes:
    context = {"prompt": "answer@7", "text_sample": "1", "prompt_text": "May I return it?"}
    if text is not None:
        context["answer_text"] = text
    event = {"model": "toy", "version": "1", "id": f"a{number}", "at": START_MS + 10 * number, "context": context}
    return json.dumps({**event, **members}).encode()


def register(pipeline: Pipeline, own: Contract) -> None:
    pipeline.register(own, [simple_baseline()])
    for derived in evaluator_contracts(own):
        pipeline.register(derived, first_baselines([derived]))


def evaluations(pipeline: Pipeline) -> list[dict[str, Any]]:
    values = [message.value() for message in pipeline.read_all(pipeline.topics.predictions)]
    return [json.loads(value) for value in values if value and b'"model":"toy.' in value]


def wait_evaluations(pipeline: Pipeline, n: int, patience_s: float = PATIENCE_S) -> list[dict[str, Any]]:
    def enough() -> list[dict[str, Any]]:
        pipeline.alive()
        events_read = evaluations(pipeline)
        return events_read if len(events_read) >= n else []

    result: list[dict[str, Any]] = wait_for(enough, f"{n} evaluations", patience_s)
    return result


@pytest.mark.smoke
def test_answers_are_evaluated_counted_and_joined_to_labels(pipeline: Pipeline, rubrics: Path) -> None:
    pipeline.create()
    register(pipeline, contract(**EVALUATORS))
    n = 60
    texts = (FALSE, "I am sorry, but I cannot help with that.", TRUE)
    events = [answer_event(i, texts[i % 3]) for i in range(n)]
    # Without text, failed, of a shadow, of another model, and no event: none of them is evaluated.
    events += [answer_event(n, None), answer_event(n + 1, error="E"), answer_event(n + 2, role="shadow")]
    events += [answer_event(n + 3, model="unknown"), b'{"answer_text": ', b"answer_text"]
    pipeline.produce([(0, events[0], None)])
    pipeline.start("evaluator", evaluator={"folder": str(rubrics)})
    wait_evaluations(pipeline, 2)
    # The first answer again: it is not evaluated twice.
    pipeline.produce((0, event, None) for event in events)
    events_read = wait_evaluations(pipeline, 2 * n + 10)
    by_model: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in EVALUATORS}
    for received in events_read:
        by_model[received["model"].removeprefix("toy.")][received["id"]] = received
    assert sorted(by_model["cited"]) == sorted(by_model["refuses"]) == sorted(f"a{i}" for i in range(n))
    assert 10 < len(by_model["half"]) < 50
    assert len(events_read) == 2 * n + len(by_model["half"])
    for i in range(n):
        cited = by_model["cited"][f"a{i}"]
        assert cited["class"] == ("faulty" if i % 3 == 0 else "sound")
        assert cited["at"] == START_MS + 10 * i
        known = {"version": "1", "kind": "check", "sample": "1"}
        assert cited["context"] == known | {"prompt": "answer@7", "text_sample": "1"}
        assert by_model["refuses"][f"a{i}"]["class"] == ("faulty" if i % 3 == 1 else "sound")
    assert not any("text" in name for each in events_read for name in each["context"] if name != "text_sample")
    assert len({each["version"] for each in events_read}) == len(EVALUATORS)
    label = {"model": "toy.cited", "at": START_MS + 60_000}
    labels = ({**label, "id": f"a{i}", "label": "faulty" if i % 2 else "sound"} for i in range(n))
    pipeline.produce(messages(labels), pipeline.topics.labels)
    pipeline.end(1)
    pipeline.start_all("sketcher", "recorder", "monitor")
    counted = pipeline.wait_rows(
        "SELECT * FROM (SELECT model, sum(all_volume.n) AS total, sum(total) OVER () AS grand_total "
        "FROM all_volume WHERE model LIKE 'toy.%' AND slice = 'all' "
        f"GROUP BY model) WHERE grand_total >= {len(events_read)}",
        "panes of evaluations",
    )
    totals = {"toy.cited": n, "toy.refuses": n, "toy.half": len(by_model["half"])}
    assert {model: total for model, total, _ in counted} == totals
    table = pipeline.wait_rows(
        "SELECT * FROM (SELECT class, label, count() AS rows, sum(rows) OVER () AS grand_total FROM predictions "
        f"INNER JOIN labels USING (model, id) WHERE model = 'toy.cited' GROUP BY class, label) WHERE grand_total = {n}",
        "evaluations with labels",
    )
    pairs = [("faulty", "faulty", 10), ("faulty", "sound", 10), ("sound", "faulty", 20), ("sound", "sound", 20)]
    assert sorted(row[:3] for row in table) == pairs
    began = datetime.fromtimestamp(START_MS / 1000, UTC)
    with pipeline.client as client:
        rates = read_evaluation_rates(client, ["toy.cited", "toy.refuses"], began, began + timedelta(hours=1))
        nothing = read_evaluation_rates(client, ["toy.cited"], began + timedelta(hours=1), began + timedelta(hours=2))
    assert nothing.groups == ()
    first, second = rates.groups
    assert (first.evaluator, first.kind, first.name) == ("cited", "check", "answer@7")
    assert (first.judged, first.flagged, first.labels, first.agreeing, first.without_result) == (n, 20, n, 30, 0)
    assert (second.flagged, second.labels) == (20, 0)
    assert rates.rate.rate.value == pytest.approx([0.5, np.nan], nan_ok=True)


@pytest.mark.long
def test_a_killed_evaluator_loses_and_repeats_nothing(pipeline: Pipeline, rubrics: Path) -> None:
    n = 3_000
    pipeline.create(2)
    register(pipeline, contract(refuses=EVALUATORS["refuses"]))
    pipeline.produce((i % 2, answer_event(i), None) for i in range(n))
    pipeline.start("evaluator", evaluator={"folder": str(rubrics)})
    for part in (1, 2, 3):
        wait_evaluations(pipeline, part * n // 5)
        pipeline.kill("evaluator-0")
        pipeline.start("evaluator", evaluator={"folder": str(rubrics)})
    events_read = wait_evaluations(pipeline, n)
    pipeline.stop()
    assert len(evaluations(pipeline)) == n
    assert {event["id"] for event in events_read} == {f"a{i}" for i in range(n)}
    assert {event["class"] for event in events_read} == {"sound"}


RUBRIC = """
rubric: 1
name: faithful
question: Is the answer right?
scale: {faulty: It is wrong., sound: It is right.}
"""
SECRET = "planted.person@secret.example"
TEXTS = ("30 days [returns]", "60 days [shipping]", "They may return goods [tariffs]")
"""Right; wrong by its document; an unknown source is none, and then the document with the same words counts."""


ENDPOINTS = ("flapping", "steady", "reading", "samples", "down", "hanging", "varying", "returns")


class Models:
    """Language models behind one server, by the name that requests have."""

    def __init__(self) -> None:
        self.released, self.returned = threading.Event(), threading.Event()
        """End the calls of the model that hangs, and the outage of the one that returns."""
        self._flapping = itertools.count()
        self._anchors = itertools.count()

    def __call__(self, exchange: Exchange, body: dict[str, Any], number: int) -> None:
        requested, model = json.dumps(body["messages"]), body["model"]
        if model == "samples":
            samples = ("30 days [returns].", "30 Days [returns]", "60 days [shipping]")
            logprobs = [-0.25] if body.get("logprobs") else None
            send(exchange, chat(samples[body["seed"] - 1] if body["temperature"] else samples[0], logprobs))
            return
        if model == "flapping":
            # Each third request fails, and each seventh answer is prose.
            request = next(self._flapping)
            if request % 3 == 1:
                send(exchange, b"{}", 503)
                return
            if request % 7 == 3:
                send(exchange, chat("It looks right to me."))
                return
        elif model == "down" or (model == "returns" and not self.returned.is_set()):
            send(exchange, b"{}", 503)
            return
        elif model == "hanging":
            self.released.wait(60)
        is_sound = RETURNS in requested if model == "reading" else "60 days" not in requested
        if model == "varying":
            is_sound = next(self._anchors) % 3 == 0
        send(exchange, chat(json.dumps({"reason": f"Ask {SECRET}.", "class": "sound" if is_sound else "faulty"})))


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def server(models: Models) -> Iterator[JudgeServer]:
    server = JudgeServer(models)
    yield server
    models.released.set()
    server.stop()


@pytest.fixture
def rubrics(tmp_path: Path) -> Path:
    (tmp_path / "faithful.yaml").write_text(RUBRIC, encoding="utf-8")
    (tmp_path / "reading.yaml").write_text(RUBRIC + "inputs: [context, answer]\n", encoding="utf-8")
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "returns.md").write_text(RETURNS, encoding="utf-8")
    (tmp_path / "documents" / "shipping.md").write_text("Parcels arrive within three days.", encoding="utf-8")
    anchor = {"prompt": "Why?", "answer": "No."}
    anchors = [{"id": f"n{i}", **anchor, "class": ("sound", "faulty")[i % 2]} for i in range(24)]
    (tmp_path / "anchors.jsonl").write_text("\n".join(map(json.dumps, anchors)), encoding="utf-8")
    return tmp_path


def judge(endpoint: str, **settings: Any) -> Evaluator:
    return Evaluator(**{"judge": "faithful.yaml", "endpoint": endpoint, **settings})


def outcome_of(event: dict[str, Any]) -> str:
    """Return why an evaluation has no result; `class` if it has one."""
    return str(event.get("error") or event.get("status") or "class")


def start(
    pipeline: Pipeline,
    server: JudgeServer,
    rubrics: Path,
    name: str = "evaluator-0",
    speed: tuple[float, float] | None = None,
    **settings: Any,
) -> None:
    prices = {"input_price": 0.5, "output_price": 2.0}
    endpoints = [{"name": name, "model": name, "url": server.url, **prices} for name in ENDPOINTS]
    own = {"folder": str(rubrics), "endpoints": endpoints, "key": "sk-1", **settings}
    pipeline.start("evaluator", name, evaluator=own, speed=speed)


def resident_bytes(pipeline: Pipeline, name: str) -> int:
    pages = Path(f"/proc/{pipeline.processes[name].pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def produce(pipeline: Pipeline, numbers: range) -> None:
    pipeline.produce((i % 2, answer_event(i, TEXTS[i % 3]), None) for i in numbers)


def test_judges_of_one_model_evaluate_each_answer_once(pipeline: Pipeline, server: JudgeServer, rubrics: Path) -> None:
    n = 60
    pipeline.create(2)
    own = contract(
        faithful=judge("flapping", anchors="anchors.jsonl"),
        frugal=judge("steady", budget=EvaluatorBudget(calls=240)),
        grounded=judge("reading", judge="reading.yaml", documents="documents"),
        agrees=Evaluator(consistency=3, endpoint="samples", at_least=0.5, compare="normalized"),
    )
    register(pipeline, own)
    produce(pipeline, range(n))
    cut = {"prompt": "answer@7", "answer_text": TEXTS[0], "prompt_text": "How long <cut>"}
    pipeline.produce([(0, answer_event(n, context=cut), None)])
    start(pipeline, server, rubrics)
    events = wait_evaluations(pipeline, 4 * (n + 1))
    log = pipeline.log_dir / "evaluator-0.log"
    wait_for(lambda: "anchors are not judged" in log.read_text(), "the line about the missing bank")
    pipeline.stop()
    assert len(evaluations(pipeline)) == 4 * (n + 1)
    by_name: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in own.evaluators}
    for event in events:
        by_name[event["model"].removeprefix("toy.")][event["id"]] = event
        assert event["context"]["kind"] == "judge"
    assert all(sorted(each) == sorted(f"a{i}" for i in range(n + 1)) for each in by_name.values())
    outcomes = {name: Counter(map(outcome_of, each.values())) for name, each in by_name.items()}
    # An endpoint that flaps: what has a result has the right one.
    faithful, one_call = outcomes["faithful"], (11 * 0.5 + 7 * 2) / 1e6
    assert {"class", "judge-prose"} <= faithful.keys() <= {"class", "judge-prose", "judge-overloaded", "judge-breaker"}
    assert faithful["class"] > n // 2
    for i in range(n):
        event = by_name["faithful"][f"a{i}"]
        if outcome_of(event) != "class":
            assert "class" not in event
            continue
        assert event["class"] == ("faulty" if i % 3 == 1 else "sound")
        assert event["context"]["answer_text"] == "Ask <email>."
        assert (event["metrics"]["input_tokens"], event["metrics"]["cost_usd"]) == (11, pytest.approx(one_call))
    # A budget: five minutes' worth at once, and a little for the time that passed. What it skips is no failure.
    assert outcomes["frugal"].keys() == {"class", "skipped-budget"}
    assert 5 <= outcomes["frugal"]["class"] <= 31, outcomes
    assert not any("error" in event for event in by_name["frugal"].values())
    for i in range(n):
        # Documents: the judge reads those that the answer cites.
        assert by_name["grounded"][f"a{i}"].get("class") == ("faulty" if i % 3 == 1 else "sound")
        # Self-consistency is a judge with several calls.
        event = by_name["agrees"][f"a{i}"]
        assert (event["class"], event["score"]) == [("sound", 2 / 3), ("faulty", 1 / 3), ("faulty", 0.0)][i % 3]
        assert (event["metrics"]["calls"], event["metrics"]["mean_logprob"]) == (4, -0.25)
        assert event["metrics"]["cost_usd"] == pytest.approx(4 * one_call)
    assert outcome_of(by_name["agrees"][f"a{n}"]) == "no-question"
    sampled = [body["messages"] for body in server.bodies if body["model"] == "samples"]
    assert sampled == [[{"role": "user", "content": "May I return it?"}]] * (4 * n)
    everything = json.dumps(events) + log.read_text()
    assert SECRET not in everything
    assert "sk-1" not in everything
    assert server.headers[0]["Authorization"] == "Bearer sk-1"


def test_endpoints_that_fail_or_hang_delay_nothing(pipeline: Pipeline, server: JudgeServer, rubrics: Path) -> None:
    n = 60
    pipeline.create(2)
    register(pipeline, contract(broken=judge("down"), slow=judge("hanging"), refuses=EVALUATORS["refuses"]))
    start(pipeline, server, rubrics, timeout_s=1.0, lag_s=15.0)
    wait_for(lambda: "assigned" in pipeline.log("evaluator-0"), "partitions")
    produce(pipeline, range(n))
    # Answers wait for judges that do not answer until they are older than `lag_s`.
    events = wait_evaluations(pipeline, 3 * n)
    outcomes = Counter((event["model"].removeprefix("toy."), outcome_of(event)) for event in events)
    assert outcomes["refuses", "class"] == n
    broken, slow = ({outcome for name, outcome in outcomes if name == judge} for judge in ("broken", "slow"))
    # The last error counts. On a busy machine an answer with status 503 may come after the timeout.
    assert "judge-breaker" in broken <= {"judge-breaker", "judge-overloaded", "judge-timeout", "skipped-lag"}
    assert slow & {"judge-timeout", "judge-breaker"}
    assert slow <= {"judge-timeout", "judge-breaker", "skipped-lag"}
    pipeline.stop()
    # A stop ends the transaction of a call that hangs; nothing of it is committed.
    start(pipeline, server, rubrics, timeout_s=3.0)
    called = sum(body["model"] == "hanging" for body in server.bodies)
    produce(pipeline, range(n, n + 10))
    wait_for(lambda: sum(body["model"] == "hanging" for body in server.bodies) > called, "a call that hangs")
    pipeline.stop()
    stopped = [json.loads(line) for line in pipeline.log("evaluator-0").splitlines() if '"stopped"' in line]
    assert all(line["reason"].startswith("requested") for line in stopped[-2:]), stopped
    assert len(evaluations(pipeline)) == 3 * n
    # Judges skip answers that are too old, which is no failure.
    called = len(server.bodies)
    start(pipeline, server, rubrics, lag_s=0.0)
    late = [event for event in wait_evaluations(pipeline, 3 * (n + 10)) if int(event["id"][1:]) >= n]
    assert Counter(map(outcome_of, late)) == {"class": 10, "skipped-lag": 20}
    assert not any("error" in event for event in late)
    assert len(server.bodies) == called


HOUR_S, SPEED, CALLS_PER_HOUR = 3600, 60, 2_400
"""Of the outage under load: a minute counts as an hour. The budget decides how fast the answers are caught up."""


@pytest.mark.parametrize("n", [120, pytest.param(4_000, marks=pytest.mark.long)])
def test_an_outage_of_a_judge_is_caught_up_once_whatever_is_killed(
    pipeline: Pipeline, models: Models, server: JudgeServer, rubrics: Path, n: int
) -> None:
    is_load = n > 1_000
    pipeline.create(2)
    late_judge = judge("returns", budget=EvaluatorBudget(calls=CALLS_PER_HOUR if is_load else None))
    register(pipeline, contract(late=late_judge, other=judge("steady"), refuses=EVALUATORS["refuses"]))
    began_s = time.time()
    speed = (SPEED, began_s) if is_load else None
    portion = n // (HOUR_S // SPEED) if is_load else n
    start(pipeline, server, rubrics, speed=speed, timeout_s=1.0)
    memory = []
    for second, first in enumerate(range(0, n, portion)):
        produce(pipeline, range(first, min(first + portion, n)))
        due_s = began_s + second
        wait_for(lambda: time.time() >= due_s, "the time of the next answers")  # noqa: B023 - called at once
        memory.append(resident_bytes(pipeline, "evaluator-0"))
    # Neither the check nor the other judge waits, and the outage outlasts the tries of every answer.
    wait_evaluations(pipeline, 2 * n)
    wait_for(lambda: len(pipeline.read_all(pipeline.topics.waiting_answers)) >= n + 50, "answers that wait again")
    assert "answers wait for a judge" in (pipeline.log_dir / "evaluator-0.log").read_text()
    memory.append(resident_bytes(pipeline, "evaluator-0"))
    # The process has started, and Kafka's client has filled its queues, by two thirds of the hour.
    assert not is_load or memory[-1] - memory[2 * len(memory) // 3] < 16 << 20, memory
    pipeline.kill("evaluator-0")
    failed = sum(body["model"] == "returns" for body in server.bodies)
    models.returned.set()
    returned_s = time.time()
    for part in (1, 3):
        start(pipeline, server, rubrics, speed=speed)
        wait_evaluations(pipeline, 2 * n + part * n // 3)
        pipeline.kill("evaluator-0")
    events = evaluations(pipeline)
    assert sorted((event["model"], event["id"]) for event in events) == sorted(
        (f"toy.{name}", f"a{i}") for name in ("late", "other", "refuses") for i in range(n)
    )
    assert {outcome_of(event) for event in events} == {"class"}
    late = [event for event in events if event["model"] == "toy.late"]
    assert all(event["metrics"]["input_tokens"] == 11 for event in late)
    # Each answer has one call that succeeds, besides those of the transaction that the kill ended.
    calls = sum(body["model"] == "returns" for body in server.bodies) - failed
    assert n <= calls <= n + 50
    if is_load:
        caught_up_s = SPEED * (time.time() - returned_s)
        assert caught_up_s < EvaluatorSettings().lag_s
        # Each of the two processes has the budget of five minutes at once.
        assert calls <= 2 * CALLS_PER_HOUR / 12 + CALLS_PER_HOUR * caught_up_s / HOUR_S
    assert sum(event["metrics"]["calls"] for event in late) <= n + failed


def test_recorded_answers_are_evaluated_once_beside_the_stream(
    pipeline: Pipeline,
    models: Models,
    server: JudgeServer,
    rubrics: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    n, checked = 40, {"refuses": EVALUATORS["refuses"]}
    frugal = judge("steady", budget=EvaluatorBudget(calls=12))
    pipeline.create(2)
    register(pipeline, contract(**checked, frugal=frugal))
    endpoints = (f'[evaluator.endpoints.{name}]\nmodel = "{name}"\nurl = "{server.url}"' for name in ENDPOINTS)
    sections = "\n".join([f'[evaluator]\nfolder = "{rubrics}"', *endpoints])
    kafka = kafka_lines(pipeline.bootstrap, pipeline.prefix)
    config = write_settings(rubrics / "barograph.toml", pipeline.address, kafka, sections=sections)
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", pipeline.address.password)
    day = f"{datetime.fromtimestamp(START_MS / 1000, UTC):%Y-%m-%dT%H:%M}"
    words = ("evaluations", "run", "--model", "toy", "--from", day, "--to", f"{day}:59", "--config", config)

    def runs(*options: str) -> dict[str, dict[str, Any]]:
        code, result = call_json(capsys, *words, *options, "--format", "json")
        assert (code, result["answers"]) == (0, {"predictions": n + 2, "failed": 1, "with_text": n, "unread": 0})
        assert "published without text" in result["without_text"]
        names = ("chosen", "evaluated", "already", "waiting", "failed", "without_result")
        return {each["evaluator"]: {name: each[name] for name in names if each[name]} for each in result["evaluators"]}

    def called(name: str) -> int:
        return sum(body["model"] == name for body in server.bodies)

    settings = load_settings(Path(config))
    pipeline.start("recorder")
    assert "No evaluator runs" in output_of(capsys, 1, *words)
    start(pipeline, server, rubrics)
    pipeline.produce([(0, answer_event(n, None), None), (1, answer_event(n + 1, error="E"), None)])
    produce(pipeline, range(n))
    wait_evaluations(pipeline, 2 * n)
    predictions = "SELECT uniqExact(id) FROM predictions WHERE model = '{}'"
    wait_for(lambda: pipeline.rows(predictions.format("toy")) == [(n + 2,)], "raw rows")
    # A judge that is new, and down: a second run finds what the first one queued, whatever is killed.
    late = {**checked, "late": judge("returns")}
    register(pipeline, contract(**late, frugal=frugal))
    queue = pipeline.topics.waiting_answers
    with ThreadPoolExecutor(1) as pool:
        begin = datetime.fromtimestamp(START_MS / 1000, UTC)
        first = pool.submit(evaluate_recorded, "toy", begin, begin + timedelta(seconds=9), settings, evaluator="late")
        try:
            wait_for(lambda: len(pipeline.read_all(queue)) >= 2 * n, "answers that wait again")
            pipeline.kill("evaluator-0")
            start(pipeline, server, rubrics)
            wait_for(lambda: "assigned" in pipeline.log("evaluator-0").rpartition('"started"')[2], "partitions")
            frugal_calls = called("steady")
            skipped = {"skipped-budget": n - frugal_calls}
            assert runs() == {
                "refuses": {"chosen": n, "already": n},
                "late": {"chosen": n, "waiting": n},
                "frugal": {"chosen": n, "already": frugal_calls, "without_result": skipped},
            }
            failed = called("returns")
        finally:
            # The run ends in any case.
            models.returned.set()
        (run_late,) = first.result(PATIENCE_S).evaluators
    assert (run_late.chosen, run_late.evaluated) == (n, n)
    assert run_late.cost_usd == pytest.approx(n * (11 * 0.5 + 7 * 2) / 1e6)
    assert runs()["late"] == {"chosen": n, "already": n}
    assert called("returns") == failed + n
    # A larger budget: what had no result gets one.
    log = pipeline.log_dir / "evaluator-0.log"
    builds = log.read_text().count('"evaluator": "frugal"')
    register(pipeline, contract(**late, frugal=judge("steady")))
    wait_for(lambda: log.read_text().count('"evaluator": "frugal"') > builds, "the new budget")
    assert runs("--retry", "--evaluator", "frugal") == {
        "frugal": {"chosen": n, "already": frugal_calls, "evaluated": n - frugal_calls}
    }
    assert called("steady") == n
    table = " ".join(output_of(capsys, 0, *words).split())
    assert "toy: 42 predictions, 1 failed, 40 with the text of the answer" in table
    # Of two runs only the later one queues. What cannot be evaluated any more is counted with its reason.
    former, latter = (RecordedAnswers(settings.processor()) for _ in range(2))
    for each in (former, latter):
        each.open("toy", {})
    answers = [Answer("toy", "1", f"b{i}", START_MS, "Yes.") for i in range(3)]
    with pytest.raises(ProcessorError, match="Another `barograph evaluations run` has started"):
        former.queue([("late", "v1", 1.0, each) for each in answers])
    latter.queue([("late", "v1", 1.0, answers[0]), *(("gone", "v1", 1.0, each) for each in answers[1:])])
    pipeline.produce([(0, b"{}", None)], queue)
    late_runs = [each for each in wait_evaluations(pipeline, 4 * n - frugal_calls + 3) if each["id"].startswith("b")]
    statuses = Counter((each["model"], each["version"], each["status"]) for each in late_runs)
    assert statuses == {("toy.gone", "v1", "skipped-removed"): 2, ("toy.late", "v1", "skipped-changed"): 1}
    sql = "SELECT mapFilter((name, n) -> name LIKE 'evaluations_skipped%', details) FROM processors FINAL "
    sql += "WHERE kind = 'evaluator' ORDER BY at DESC LIMIT 1"
    reasons = {"skipped-removed": 2, "skipped-changed": 1, "unreadable": 1}
    expected = {f"evaluations_skipped_total {reason}": n for reason, n in reasons.items()}
    wait_for(lambda: pipeline.rows(sql)[0][0].items() >= expected.items(), "the metric")
    # Raw rows of each evaluation: no more than the stream and the runs wrote.
    assert len(evaluations(pipeline)) == 4 * n - frugal_calls + 3


@pytest.mark.long
def test_two_processes_share_the_answers_and_one_judges_the_anchors(
    pipeline: Pipeline, server: JudgeServer, rubrics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.create(2)
    register(pipeline, contract(faithful=judge("varying", anchors="anchors.jsonl", anchors_every_s=2)))
    endpoint = f'[evaluator.endpoints.varying]\nmodel = "varying"\nurl = "{server.url}"'
    sections = f'[evaluator]\nfolder = "{rubrics}"', endpoint
    config = write_settings(rubrics / "barograph.toml", pipeline.address, *sections)
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", pipeline.address.password)
    words = ("--model", "toy", "--evaluator", "faithful", "--bank", "10", "--config", config)
    assert run("judges", "anchors", *words) == 0
    for name in ("evaluator-0", "evaluator-1"):
        start(pipeline, server, rubrics, name)
    runs = "SELECT uniqExact(run_id) FROM anchor_runs WHERE kind = 'run'"
    wait_for(lambda: pipeline.rows(runs)[0][0] >= 5, "five runs")
    pipeline.stop()
    ((stored,),) = pipeline.rows(runs)
    # The group may have changed hands in one run, and one may be unfinished.
    assert len(server.bodies) <= (10 + stored + 2) * 24
