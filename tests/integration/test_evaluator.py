"""The evaluator: answers to evaluations, once each, whatever is killed; counted, recorded and joined to labels."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluator_contracts import evaluator_contracts
from barograph.contract.evaluators import Evaluator

from barograph_server.provisioning.plan import first_baselines
from barograph_server.warehouse.evaluation.evaluation_rates import read_evaluation_rates
from tests.support.pipeline import PATIENCE_S, Pipeline, simple_baseline, simple_contract, wait_for

START_MS = 1_790_000_000_000
RETURNS = "Customers may return goods within 30 days of delivery."
TRUE = f"“{RETURNS[:-1]}” [returns]."
FALSE = TRUE.replace("30 days", "60 days")
EVALUATORS = {
    "cited": Evaluator(check="citations", documents="documents"),
    "refuses": Evaluator(check="refusal"),
    "half": Evaluator(check="pattern", pattern="goods", share=0.5),
}


def contract(evaluators: dict[str, Evaluator] | None = None) -> Contract:
    text = Text(content="keep", sample=1.0)
    return simple_contract(text=text, evaluators=EVALUATORS if evaluators is None else evaluators)


def answer_event(number: int, text: str | None = TRUE, **members: Any) -> bytes:
    context = {"prompt": "answer@7", "text_sample": "1", "prompt_text": "May I return it?"}
    if text is not None:
        context["answer_text"] = text
    event = {"model": "toy", "version": "1", "id": f"a{number}", "at": START_MS + 10 * number, "context": context}
    return json.dumps({**event, **members}).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "returns.md").write_text(RETURNS, encoding="utf-8")
    return tmp_path


def register(pipeline: Pipeline, own: Contract) -> None:
    pipeline.register(own, [simple_baseline()])
    baselines = {each.model: each for each in first_baselines([own])}
    for derived in evaluator_contracts(own):
        pipeline.register(derived, [baselines[derived.model]])


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
def test_answers_are_evaluated_counted_and_joined_to_labels(pipeline: Pipeline, folder: Path) -> None:
    own = contract()
    pipeline.create()
    register(pipeline, own)
    n = 60
    texts = [
        FALSE if i % 3 == 0 else "I am sorry, but I cannot help with that." if i % 3 == 1 else TRUE for i in range(n)
    ]
    events = [answer_event(i, text) for i, text in enumerate(texts)]
    # Without text, failed, of a shadow, of another model, and no event: none of them is evaluated.
    events += [answer_event(n, None), answer_event(n + 1, error="E"), answer_event(n + 2, role="shadow")]
    events += [answer_event(n + 3, model="unknown"), b'{"answer_text": ', b"answer_text"]
    pipeline.produce([(0, events[0], None)])
    pipeline.start("evaluator", evaluator={"folder": str(folder)})
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
        assert cited["context"] == {
            **{"version": "1", "kind": "check", "sample": "1"},
            **{"prompt": "answer@7", "text_sample": "1"},
        }
        assert by_model["refuses"][f"a{i}"]["class"] == ("faulty" if i % 3 == 1 else "sound")
    assert not any("text" in name for each in events_read for name in each["context"] if name != "text_sample")
    assert len({each["version"] for each in events_read}) == len(EVALUATORS)
    labels = [
        json.dumps(
            {"model": "toy.cited", "id": f"a{i}", "label": "faulty" if i % 2 else "sound", "at": START_MS + 60_000}
        )
        for i in range(n)
    ]
    pipeline.produce(((0, label.encode(), None) for label in labels), pipeline.topics.labels)
    pipeline.end(1)
    for kind in ("sketcher", "recorder", "monitor"):
        pipeline.start(kind)
    counted = pipeline.wait_rows(
        "SELECT * FROM (SELECT model, sum(all_volume.n) AS total, sum(total) OVER () AS grand_total "
        "FROM all_volume WHERE model LIKE 'toy.%' AND slice = 'all' "
        f"GROUP BY model) WHERE grand_total >= {len(events_read)}",
        "panes of evaluations",
    )
    assert {model: total for model, total, _ in counted} == {
        "toy.cited": n,
        "toy.refuses": n,
        "toy.half": len(by_model["half"]),
    }
    table = pipeline.wait_rows(
        "SELECT * FROM (SELECT class, label, count() AS rows, sum(rows) OVER () AS grand_total FROM predictions "
        f"INNER JOIN labels USING (model, id) WHERE model = 'toy.cited' GROUP BY class, label) WHERE grand_total = {n}",
        "evaluations with labels",
    )
    assert sorted(row[:3] for row in table) == sorted(
        [("faulty", "faulty", 10), ("faulty", "sound", 10), ("sound", "faulty", 20), ("sound", "sound", 20)]
    )
    began = datetime.fromtimestamp(START_MS / 1000, UTC)
    with pipeline.client as client:
        rates = read_evaluation_rates(client, ["toy.cited", "toy.refuses"], began, began + timedelta(hours=1))
        nothing = read_evaluation_rates(client, ["toy.cited"], began + timedelta(hours=1), began + timedelta(hours=2))
    assert nothing.groups == ()
    first, second = rates.groups
    assert (first.evaluator, first.kind, first.name) == ("cited", "check", "answer@7")
    assert (first.judged, first.flagged, first.labels, first.agreeing, first.without_result) == (n, 20, n, 30, 0)
    assert (second.flagged, second.labels) == (20, 0)
    assert rates.rate.rate.value[0] == pytest.approx(0.5)
    assert np.isnan(rates.rate.rate.value[1])


@pytest.mark.long
def test_a_killed_evaluator_loses_and_repeats_nothing(pipeline: Pipeline, folder: Path) -> None:
    n = 3_000
    pipeline.create(2)
    register(pipeline, contract({"refuses": EVALUATORS["refuses"]}))
    pipeline.produce((i % 2, answer_event(i % n), None) for i in range(n))
    pipeline.start("evaluator", evaluator={"folder": str(folder)})
    for part in (1, 2, 3):
        wait_evaluations(pipeline, part * n // 5)
        pipeline.kill("evaluator-0")
        pipeline.start("evaluator", evaluator={"folder": str(folder)})
    events_read = wait_evaluations(pipeline, n)
    pipeline.stop()
    assert len(evaluations(pipeline)) == n
    assert {event["id"] for event in events_read} == {f"a{i}" for i in range(n)}
    assert {event["class"] for event in events_read} == {"sound"}
