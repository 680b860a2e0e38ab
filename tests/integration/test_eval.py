"""`barograph eval` on real ClickHouse: import, series, and the gate with its exit codes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.evaluation.eval_runs import EvalItem, EvalRun, store_run
from tests.support.command_line import OutputOf

LOGS = Path(__file__).parents[1] / "golden" / "eval_logs"
INSPECT = LOGS / "inspect.json"


@pytest.fixture
def command(client: Client, config: str, output_of: OutputOf) -> OutputOf:
    return lambda code, *words: " ".join(output_of(code, "eval", *words, "--config", config).split())


@pytest.fixture
def gate(command: OutputOf, tmp_path: Path) -> OutputOf:
    policy = tmp_path / "policy.yaml"
    policy.write_text("suites: {answers: {margin: 0.1, items: 50}}", encoding="utf-8")
    return lambda code, candidate, *words: command(
        code, "gate", "--model", "m", "--candidate", candidate, "--policy", policy, *words
    )


def store(client: Client, prompt: str, scores: Mapping[str, float], at_ms: int, **changes: Any) -> EvalRun:
    answers = tuple(EvalItem(item, 1, score, score >= 0.5, {"kind": "x"}) for item, score in scores.items())
    values: dict[str, Any] = {"suite": "answers", "suite_version": "1", "run_id": f"run-{prompt}-{at_ms}"}
    values |= {"scorer": "fact", "unscored": 0, "format": "inspect-ai", "version": "smollm2", **changes}
    run = EvalRun(model="m", prompt=prompt, started_at_ms=at_ms, answers=answers, **values)
    assert store_run(client, run, at_ms)
    return run


def scores(passing: int, items: int = 60, first: int = 0) -> dict[str, float]:
    return {f"item-{i:03d}": float(i < passing) for i in range(first, items)}


def test_a_log_is_stored_once_with_its_items(client: Client, command: OutputOf, tmp_path: Path) -> None:
    log = json.loads(INSPECT.read_text(encoding="utf-8"))
    log["results"]["scores"][0]["metrics"]["accuracy"]["value"] = 0.9
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(log), encoding="utf-8")
    error = "the mean of the 8 scores is 0.375, but the log states 0.9. Nothing is stored."
    assert error in command(3, "import", LOGS / "inspect.eval", wrong)
    assert client.rows("SELECT count() FROM eval_items") == [(0,)], "nothing is stored if one log is wrong"
    out = command(0, "import", INSPECT)
    assert out.startswith(
        "+ support-bot, answers version 1, answer@2: 37.5 % [9.3, 77.8] of 8 answers to 4 items; run iwLqJ9ALTj"
    )
    assert command(0, "import", INSPECT).endswith("is stored already")
    assert client.rows("SELECT count() FROM eval_runs") == [(1,)]
    assert client.rows("SELECT count(), sum(score), countIf(class = 'pass') FROM eval_items") == [(8, 3.0, 3)]
    documents = client.rows("SELECT DISTINCT metadata['document'] FROM eval_items ORDER BY 1")
    assert documents == [("business-customers",), ("damaged-parcels",)]
    stored = "is stored already for the model support-bot and the prompt answer@2"
    assert stored in command(3, "import", INSPECT, "--prompt", "answer@3")
    # An import that failed before its run was stored is completed by a second.
    client.command("TRUNCATE TABLE eval_runs")
    assert command(0, "import", INSPECT).startswith("+")
    assert client.rows("SELECT count() FROM eval_items FINAL") == [(8,)]
    # A run is stored with one score.
    run = store(client, "answer@9", {"a": 1.0}, 1_000)
    with pytest.raises(WarehouseError, match=r"with the score fact; .* To import other, run the suite again"):
        store_run(client, replace(run, scorer="other"), 2_000)


def test_logs_of_all_programs_are_one_series(command: OutputOf) -> None:
    results = next((LOGS / "lm_eval").glob("results_*.json"))
    paths = (INSPECT, LOGS / "inspect.eval", LOGS / "promptfoo.json", results)
    assert command(0, "import", *paths, "--model", "support-bot").count("+ support-bot") == 4
    runs = json.loads(command(0, "show", "--model", "support-bot", "--format", "json"))
    logs = [*[("inspect-ai", 8, "")] * 2, ("lm-eval", 8, ""), ("promptfoo", 12, "")]
    assert sorted((run["format"], run["samples"], run["state"]) for run in runs) == logs
    out = command(0, "show", "--model", "support-bot")
    assert "answers 1 2026-11-29 06:15 answer@2 smollm2-135m 37.5 % 9.3 to 77.8 4 8 0 iwLqJ9ALTjVNeeBZxpQxMU" in out
    assert "has no evaluation run: `barograph eval import FILE` adds one" in command(0, "show", "--model", "other")


def test_the_gate_accepts_holds_and_cannot_say(client: Client, gate: OutputOf) -> None:
    store(client, "answer@0", scores(20, items=30), 500)
    assert "no run was accepted yet, and this one has 30 of 50 items" in gate(2, "answer@0", "--accept")
    store(client, "answer@1", scores(50), 1_000)
    assert "answers: no run was accepted yet: --accept accepts this one as the first" in gate(2, "answer@1")
    assert "+ answer@1 is accepted" in gate(0, "answer@1", "--accept", "--author", "ana")
    store(client, "answer@2", scores(51), 2_000)
    assert "answers answer@1 83.3 % 85.0 % +1.7 -3.8 to +7.1 -10 60 1 0 accept" in gate(0, "answer@2")
    store(client, "answer@3", scores(40), 3_000)
    assert "-16.7 -26.3 to -5.9 -10 60 0 10 hold" in gate(1, "answer@3", "--accept")
    store(client, "answer@4", scores(46), 4_000)
    assert "-10 60 0 4 insufficient" in gate(2, "answer@4")
    assert client.rows("SELECT run_id, accepted_by, reason FROM eval_acceptances") == [
        ("run-answer@1-1000", "ana", "the first accepted run")
    ]


def test_the_newest_run_of_a_candidate_is_compared_with_the_accepted_run(client: Client, gate: OutputOf) -> None:
    store(client, "answer@1", scores(40), 1_000)
    gate(0, "answer@1", "--accept")
    assert "answers: the run run-answer@1-1000 is the accepted run already" in gate(0, "answer@1", "--accept")
    assert client.rows("SELECT count() FROM eval_acceptances") == [(1,)]
    store(client, "answer@2", scores(10), 2_000)
    store(client, "answer@2", scores(55), 3_000)
    gate(1, "run-answer@2-2000")
    assert json.loads(gate(0, "answer@2", "--accept", "--format", "json"))["is_accepted"]
    decision = json.loads(gate(1, "answer@1", "--format", "json"))
    assert (decision["outcome"], decision["suites"][0]["difference"]["worse"]) == ("hold", 15)
    assert decision["suites"][0]["difference"]["value"] == pytest.approx(-0.25)
    (reason,) = client.rows("SELECT reason FROM eval_acceptances WHERE run_id = 'run-answer@2-3000'")[0]
    assert reason.startswith("+25.00 points [")
    client.command("TRUNCATE TABLE eval_runs")
    store(client, "answer@3", scores(60), 4_000)
    err = gate(3, "answer@3", "--accept")
    assert err.startswith("The accepted run run-answer@2-3000 of answers is not in the table eval_runs: import its log")
    assert client.rows("SELECT count() FROM eval_acceptances") == [(2,)]


def test_runs_that_cannot_be_compared(client: Client, gate: OutputOf) -> None:
    store(client, "answer@1", scores(60), 1_000)
    gate(0, "answer@1", "--accept")
    store(client, "answer@2", scores(70, items=70, first=2), 2_000)
    out = gate(2, "answer@2")
    assert "only the accepted run has 2 items: item-000, item-001" in out
    assert "only the candidate has 10 items: item-060," in out
    assert "the candidate has no score of 2 items of the accepted run; the policy allows a share of 0 of 60" in out
    store(client, "answer@5", scores(60), 5_000, suite_version="2")
    assert "the accepted run has the suite version 1, the candidate 2: run the same suite" in gate(2, "answer@5")
    store(client, "answer@3", scores(60), 3_000, suite="other")
    assert "the candidate has no run of this suite" in gate(2, "answer@3", "--accept")
    store(client, "answer@4", scores(60), 4_000, scorer="other")
    assert "has the scorer fact, the candidate other" in gate(2, "answer@4")
    err = gate(3, "answer@9")
    assert "No run of m has the prompt, version or run id answer@9: there are runs of answer@1, answer@2" in err


@pytest.mark.parametrize(
    "change", [{"suite_version": "2"}, {"scorer": "other"}, {"format": "promptfoo", "version": "openai:chat:smollm2"}]
)
def test_a_changed_suite_needs_a_run_of_the_accepted(change: dict[str, str], client: Client, gate: OutputOf) -> None:
    store(client, "answer@1", scores(60), 1_000)
    gate(0, "answer@1", "--accept")
    store(client, "answer@2", scores(60), 2_000, **change)
    out = gate(2, "answer@2", "--accept")
    assert "run the same suite on the accepted answer@1 (smollm2) too, and accept that run" in out
    store(client, "answer@1", scores(30, items=40), 3_000, **change)
    assert "which has 40 of 50 items" in gate(2, "run-answer@1-3000", "--accept")
    store(client, "answer@1", scores(58), 4_000, **change)
    out = gate(0, "run-answer@1-4000", "--accept")
    assert "both are of answer@1: --accept accepts this run as the first since the change" in out
    assert client.rows("SELECT reason FROM eval_acceptances WHERE run_id = 'run-answer@1-4000'") == [
        ("the first accepted run since the suite changed; follows run-answer@1-1000",)
    ]
    assert "60 2 0 accept" in gate(0, "answer@2", "--accept")


def test_answers_without_a_score_are_limited(client: Client, gate: OutputOf, command: OutputOf, tmp_path: Path) -> None:
    store(client, "answer@1", scores(60), 1_000, unscored=2)
    assert "no score for 2 of 62 answers; the policy allows a share of 0 (`missing`)" in gate(2, "answer@1", "--accept")
    store(client, "answer@1", scores(60), 2_000)
    gate(0, "answer@1", "--accept")
    store(client, "answer@2", scores(60), 3_000, unscored=60)
    out = gate(2, "answer@2", "--accept")
    assert "candidate run run-answer@2-3000 (120 answers, 60 without a score); accepted run run-answer@1-2000" in out
    assert "the candidate has no score for 60 of 120 answers" in out
    # A policy can allow a share.
    policy = tmp_path / "lenient.yaml"
    policy.write_text("suites: {answers: {margin: 0.1, items: 50, missing: 0.05}}", encoding="utf-8")
    lenient = ("gate", "--model", "m", "--policy", policy, "--candidate")
    store(client, "answer@4", scores(60), 5_000, unscored=3)
    command(0, *lenient, "answer@4")
    store(client, "answer@5", scores(60), 6_000, unscored=4)
    assert "no score for 4 of 64 answers; the policy allows a share of 0.05" in command(2, *lenient, "answer@5")


def test_an_unclear_candidate_must_be_named_by_its_run_id(client: Client, gate: OutputOf) -> None:
    store(client, "answer@1", scores(60), 1_000)
    store(client, "answer@2", scores(60), 2_000)
    err = gate(3, "smollm2", "--accept")
    assert "Runs of answers that match smollm2 are of several versions: name one of each suite by its id" in err
    assert "run-answer@1-1000 (answer@1, smollm2), run-answer@2-2000 (answer@2, smollm2)" in err
    store(client, "answer@2", scores(10), 2_000, run_id="other")
    assert "that match answer@2 started at the same time" in gate(3, "answer@2")
    gate(0, "other", "--accept", "--format", "json")
