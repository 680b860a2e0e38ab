"""Anchors of judges: scheduled runs and a kill, a judge that becomes worse, a changed judge, an endpoint that fails."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluators import Evaluator, EvaluatorBudget

from alerts import AlertSettings, rules_of
from cli.main import main
from tests.integration.test_evaluator import evaluations, register
from tests.integration.test_evaluator_judges import RUBRIC, produce, start
from tests.support.judge_server import JudgeServer, chat, send
from tests.support.pipeline import Pipeline, simple_contract, wait_for
from tests.support.scripted_http import Exchange
from warehouse.signals import point_sql

N = 24
YEAR_S = 366 * 86_400


class AnchorJudge:
    """Judges anchors right, except for some that change with each call, and for those that it has lost."""

    def __init__(self) -> None:
        self.varying = {0, 1}
        """Anchors that it judges right in every second call."""
        self.lost: set[int] = set()
        self.is_down = False
        self.blocked_from: int | None = None
        """Request from which on it does not answer."""
        self.released = threading.Event()
        self.calls: dict[int, int] = {}
        self._lock = threading.Lock()

    def __call__(self, handler: Exchange, body: dict[str, Any], number: int) -> None:
        if self.blocked_from is not None and number >= self.blocked_from:
            self.released.wait(600)
        if self.is_down:
            send(handler, b"{}", 503)
            return
        match = re.search(r"Anchor (\d+) ends", json.dumps(body["messages"]))
        verdict = "sound"
        if match is not None:
            anchor = int(match[1])
            with self._lock:
                call = self.calls[anchor] = self.calls.get(anchor, -1) + 1
            is_right = anchor not in self.lost and not (anchor in self.varying and (call + anchor) % 2)
            verdict = ("sound", "faulty")[(anchor % 2 == 0) == is_right]
        send(handler, chat(json.dumps({"reason": "So.", "class": verdict})))


@pytest.fixture
def judge() -> AnchorJudge:
    return AnchorJudge()


@pytest.fixture
def server(judge: AnchorJudge) -> Iterator[JudgeServer]:
    server = JudgeServer(judge)
    yield server
    judge.released.set()
    server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "faithful.yaml").write_text(RUBRIC, encoding="utf-8")
    anchors = [
        {"id": f"n{i}", "prompt": "Why?", "answer": f"Anchor {i} ends.", "class": "sound" if i % 2 else "faulty"}
        for i in range(N)
    ]
    (tmp_path / "anchors.jsonl").write_text("\n".join(map(json.dumps, anchors)), encoding="utf-8")
    return tmp_path


def contract(every_s: int = YEAR_S, **settings: Any) -> Contract:
    judge = Evaluator(
        judge="faithful.yaml", endpoint="small", anchors="anchors.jsonl", anchors_every_s=every_s, **settings
    )
    return simple_contract(text=Text(content="redact", sample=1.0), evaluators={"faithful": judge})


class Command:
    """`barograph judges anchors toy faithful` with the files of a test."""

    def __init__(
        self, pipeline: Pipeline, server: JudgeServer, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._capsys, self._path = capsys, folder / "barograph.toml"
        where = pipeline.address
        self._path.write_text(
            f'[clickhouse]\nhost = "{where.host}"\nport = {where.port}\ndatabase = "{where.database}"\n'
            f'[evaluator]\nfolder = "{folder}"\nendpoints = "small=judge-1@{server.url}"\ntimeout_s = 1\n'
        )

    def __call__(self, *options: str) -> tuple[int, str]:
        """Run the command; return its exit code and both outputs."""
        with pytest.raises(SystemExit) as ended:
            main(["judges", "anchors", "toy", "faithful", *options, "--config", str(self._path)])
        code = ended.value.code
        assert isinstance(code, int)
        output = self._capsys.readouterr()
        return code, output.out + output.err

    def state(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self("--json")[1])
        return result


@pytest.fixture
def command(
    pipeline: Pipeline,
    server: JudgeServer,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", pipeline.address.password)
    pipeline.create(2)
    return Command(pipeline, server, folder, capsys)


def stored(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """Return id, anchors, right verdicts and those that are missing of each later run, without duplicates."""
    return pipeline.rows(
        "SELECT run_id, anchors, right, no_result FROM anchor_runs FINAL WHERE kind = 'run' ORDER BY at", {}
    )


def log(pipeline: Pipeline) -> str:
    return (pipeline.log_dir / "evaluator-0.log").read_text(encoding="utf-8")


def findings(pipeline: Pipeline, own: Contract) -> dict[str, float]:
    """Return what the rule reads."""
    (rule,) = [each for each in rules_of(own, AlertSettings()) if each.name == "judge-drift"]
    return dict(pipeline.rows(point_sql(rule.signal, at=f"{int(time.time()) + 60}"), {}))


def test_a_scheduled_run_is_stored_once_whatever_is_killed(
    pipeline: Pipeline, judge: AnchorJudge, server: JudgeServer, folder: Path, command: Command
) -> None:
    register(pipeline, contract(budget=EvaluatorBudget(calls=3_600)))
    start(pipeline, server, folder)
    wait_for(lambda: "anchors are not judged" in log(pipeline), "the line about the bank")
    assert "--bank 60" in log(pipeline)
    judge.blocked_from = 6 * N + 15
    code, output = command("--bank", "6")
    assert code == 0, output
    assert "Bank: 6 runs" in output
    # The evaluator finds the bank, and is killed within its run.
    wait_for(lambda: len(server.bodies) > 6 * N + 15, "a call that hangs")
    pipeline.kill("evaluator-0")
    assert stored(pipeline) == []
    judge.blocked_from = None
    start(pipeline, server, folder)
    ((run_id, anchors, right, no_result),) = wait_for(lambda: stored(pipeline), "the run of the period")
    assert (anchors, no_result) == (N, 0)
    assert right >= N - 2
    pipeline.stop()
    called = len(server.bodies)
    start(pipeline, server, folder)
    wait_for(lambda: "judged already" in log(pipeline), "the line about the period")
    assert len(server.bodies) == called
    produce(pipeline, range(4))
    wait_for(lambda: len(evaluations(pipeline)) >= 4, "evaluations beside")
    assert [each[0] for each in stored(pipeline)] == [run_id]
    assert command()[0] == 0


def test_two_processes_share_the_answers_and_one_judges_the_anchors(
    pipeline: Pipeline, judge: AnchorJudge, server: JudgeServer, folder: Path, command: Command
) -> None:
    register(pipeline, contract(every_s=2))
    assert command("--bank", "10")[0] == 0
    for name in ("evaluator-0", "evaluator-1"):
        endpoints = f"small=judge-1@{server.url}"
        pipeline.start("evaluator", name, evaluator={"folder": str(folder), "endpoints": endpoints})
    wait_for(lambda: len(stored(pipeline)) >= 5, "five runs")
    pipeline.stop()
    runs = len(stored(pipeline))
    # The group may have changed hands in one run, and one may be unfinished.
    assert len(server.bodies) <= (10 + runs + 2) * N


def test_a_judge_that_becomes_worse_is_found_and_a_changed_one_is_another_series(
    pipeline: Pipeline, judge: AnchorJudge, server: JudgeServer, folder: Path, command: Command
) -> None:
    own = contract(every_s=2)
    register(pipeline, own)
    assert command("--bank", "20")[0] == 0
    assert findings(pipeline, own) == {"faithful has drifted": 0.0, "faithful has used up its bank": 0.0}
    start(pipeline, server, folder)
    wait_for(lambda: len(stored(pipeline)) >= 3, "three runs")
    assert command()[0] == 0
    judge.lost = {3, 4, 8, 9, 12}
    wait_for(lambda: "judge has drifted" in log(pipeline), "drift")
    pipeline.stop()
    code, output = command()
    assert code == 1
    assert "Drift since" in output
    state = command.state()
    assert (state["outcome"], state["bank"], state["is_deterministic"]) == ("drifted", 20, False)
    assert state["log_e"] > 3.9
    assert len([run for run in state["runs"] if run["kind"] == "run"]) <= 12, "found soon"
    assert findings(pipeline, own) == {"faithful has drifted": 1.0, "faithful has used up its bank": 0.0}
    code, output = command("--bank", "5")
    assert code == 3
    assert "The judge has drifted" in output
    # Another rubric is another judge.
    (folder / "faithful.yaml").write_text(RUBRIC.replace("right?", "correct?"), encoding="utf-8")
    code, output = command()
    assert code == 2
    assert "The judge or its anchors changed" in output
    code, output = command("--run")
    assert code == 3
    assert "cannot be compared" in output
    assert command("--bank", "5")[0] == 0
    assert command.state()["version"] != state["version"]
    assert findings(pipeline, own)["faithful has drifted"] == 0.0
    # So are other anchors.
    path = folder / "anchors.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("Why?", "How?"), encoding="utf-8")
    assert command()[0] == 2
    path.unlink()
    code, output = command()
    assert code == 2, "the bank of the second series has no later run"
    assert "cannot build the judge" in output


def test_a_deterministic_judge_and_a_bank_that_is_used_up(
    pipeline: Pipeline, judge: AnchorJudge, server: JudgeServer, folder: Path, command: Command
) -> None:
    own = contract()
    register(pipeline, own)
    for _ in range(5):
        assert command("--bank", "1")[0] in (0, 2)
    for _ in range(5):
        assert command("--run")[0] in (0, 2)
    assert command.state()["outcome"] == "bank used up"
    code, output = command("--run")
    assert code == 3
    assert "The bank is used up" in output
    assert findings(pipeline, own)["faithful has used up its bank"] == 1.0
    # A judge that never varies, as another series.
    judge.varying.clear()
    path = folder / "anchors.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("Why?", "How?"), encoding="utf-8")
    assert command("--bank", "5")[0] == 0
    assert [command("--run")[0] for _ in range(7)] == [0] * 7
    judge.lost = {7}
    code, output = command("--run")
    assert code == 1
    assert "changed: n7" in output
    assert command.state()["runs"][-1]["changed"] == ["n7"]


def test_an_endpoint_that_is_down_counts_for_nothing(
    pipeline: Pipeline, judge: AnchorJudge, server: JudgeServer, folder: Path, command: Command
) -> None:
    own = contract(every_s=4)
    register(pipeline, own)
    assert command("--bank", "5")[0] == 0
    judge.is_down = True
    code, output = command("--run")
    assert code == 3
    assert "No anchor has a verdict: " in output
    assert "judge-overloaded: The endpoint answers with status 503" in output
    start(pipeline, server, folder, timeout_s=1.0)
    wait_for(lambda: "left out of the evidence" in log(pipeline), "the line about the run")
    assert command.state()["left_out"]["no_result"] >= 1
    code, output = command()
    assert code == 2
    assert "left out, because anchors have no verdict" in output
    judge.is_down = False
    wait_for(lambda: any(not run[3] for run in stored(pipeline)), "a run after the pause of the breaker")
    assert command.state()["outcome"] == "no drift"


def test_anchors_wait_for_the_budget(
    pipeline: Pipeline, judge: AnchorJudge, server: JudgeServer, folder: Path, command: Command
) -> None:
    # 10 calls at once and 2 in a minute: a run of 24 calls is not complete within its 6 seconds.
    register(pipeline, contract(every_s=6, budget=EvaluatorBudget(calls=120)))
    assert command("--bank", "5")[0] == 0
    called = len(server.bodies)
    start(pipeline, server, folder)
    wait_for(lambda: "anchors not judged in their period" in log(pipeline), "the line about the budget")
    assert len(server.bodies) - called <= 12
    assert stored(pipeline) == []


def test_anchors_that_cannot_be_read_leave_the_judge_at_work(
    pipeline: Pipeline, judge: AnchorJudge, server: JudgeServer, folder: Path, command: Command
) -> None:
    (folder / "anchors.jsonl").write_text('{"id": 1}', encoding="utf-8")
    register(pipeline, contract())
    code, output = command("--bank", "5")
    assert code == 3
    assert "line 1:" in output
    start(pipeline, server, folder)
    produce(pipeline, range(4))
    wait_for(lambda: len(evaluations(pipeline)) >= 4, "evaluations")
    wait_for(lambda: "anchors cannot be used" in log(pipeline), "the line about the anchors")
