"""Anchors of judges on a manual clock: scheduled runs, judges that worsen or change, an endpoint that is down."""

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluators import Evaluator, EvaluatorBudget
from structlog.testing import capture_logs

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.streams.evaluator.active import ActiveEvaluators
from barograph_server.streams.evaluator.anchor_schedule import AnchorSchedule
from barograph_server.streams.evaluator.judge_evaluators import JudgeEvaluators
from barograph_server.streams.evaluator.settings import EvaluatorSettings, JudgeEndpoint
from barograph_server.streams.registry.registry import Registry
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import point_sql
from tests.integration.test_evaluator import RUBRIC
from tests.support import scoring
from tests.support.command_line import OutputOf
from tests.support.judge_server import JudgeServer, chat, send
from tests.support.pipeline import simple_contract
from tests.support.scripted_http import Exchange

N = 24
HOUR_S = 3600


@dataclass
class AnchorJudge:
    """Judges anchors right, except for some that change with each call, and for those that it has lost."""

    varying: set[int] = field(default_factory=lambda: {0, 1})
    """Anchors that it judges right in every second call."""
    lost: set[int] = field(default_factory=set)
    is_down: bool = False
    calls: dict[int, int] = field(default_factory=dict)
    stop: threading.Event | None = None
    """Set by the call with the number `stop_at`."""
    stop_at: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, exchange: Exchange, body: dict[str, Any], number: int) -> None:
        if self.is_down:
            send(exchange, b"{}", 503)
            return
        if self.stop is not None and number == self.stop_at:
            self.stop.set()
        match = re.search(r"Anchor (\d+) ends", json.dumps(body["messages"]))
        assert match is not None
        anchor = int(match[1])
        with self._lock:
            call = self.calls[anchor] = self.calls.get(anchor, -1) + 1
        is_right = anchor not in self.lost and not (anchor in self.varying and (call + anchor) % 2)
        verdict = ("sound", "faulty")[(anchor % 2 == 0) == is_right]
        send(exchange, chat(json.dumps({"reason": "So.", "class": verdict})))


@dataclass
class Anchors:
    """A contract with a judge and anchors, its files, the command line, and a clock."""

    client: Client
    folder: Path
    config: str
    judge: AnchorJudge
    server: JudgeServer
    output_of: OutputOf
    contract: Contract = field(default_factory=simple_contract)
    now_s: float = 1000.0 * HOUR_S
    opened: list[JudgeEvaluators] = field(default_factory=list)

    def register(self, **settings: Any) -> None:
        anchored = {"anchors": "anchors.jsonl", "anchors_every_s": HOUR_S, **settings}
        judge = Evaluator(judge="faithful.yaml", endpoint="small", **anchored)
        self.contract = simple_contract(text=Text(content="redact", sample=1.0), evaluators={"faithful": judge})
        scoring.register(self.client, self.contract)

    def schedule(self, stop: threading.Event | None = None, *, is_responsible: bool = True) -> AnchorSchedule:
        endpoints = (JudgeEndpoint("small", "judge-1", self.server.url),)
        judges = JudgeEvaluators(EvaluatorSettings(folder=str(self.folder), endpoints=endpoints), lambda _: False)
        self.opened.append(judges)
        evaluators = ActiveEvaluators(lambda: Registry(contracts={"toy": self.contract}), self.folder, judges.build)
        evaluators.refresh()
        options: dict[str, Any] = {"stop": stop or threading.Event(), "clock": lambda: self.now_s}
        return AnchorSchedule(evaluators, lambda: self.client, is_responsible=lambda: is_responsible, **options)

    def command(self, code: int | tuple[int, ...], *options: str) -> str:
        words = ("--model", "toy", "--evaluator", "faithful", *options, "--config", self.config)
        return self.output_of(code, "judges", "anchors", *words)

    def state(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.command((0, 1, 2), "--format", "json"))
        return result

    def stored(self) -> list[tuple[Any, ...]]:
        """Return id, anchors, right verdicts and those that are missing of each later run, without duplicates."""
        return self.client.rows(
            "SELECT run_id, anchors, right, no_result FROM anchor_runs FINAL WHERE kind = 'run' ORDER BY at"
        )

    def findings(self) -> dict[str, float]:
        (rule,) = [each for each in rules_of(self.contract, AlertSettings()) if each.name == "judge-drift"]
        return dict(self.client.rows(point_sql(rule.signal, at=f"{int(time.time()) + 60}")))

    def edit(self, name: str, before: str, after: str) -> None:
        path = self.folder / name
        path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")


@pytest.fixture
def anchors(client: Client, config: str, tmp_path: Path, output_of: OutputOf) -> Iterator[Anchors]:
    (tmp_path / "faithful.yaml").write_text(RUBRIC, encoding="utf-8")
    lines = [
        {"id": f"n{i}", "prompt": "Why?", "answer": f"Anchor {i} ends.", "class": "sound" if i % 2 else "faulty"}
        for i in range(N)
    ]
    (tmp_path / "anchors.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    judge = AnchorJudge()
    server = JudgeServer(judge)
    with Path(config).open("a", encoding="utf-8") as file:
        file.write(f'[evaluator]\nfolder = "{tmp_path}"\n')
        file.write(f'[evaluator.endpoints.small]\nmodel = "judge-1"\nurl = "{server.url}"\n')
    anchors = Anchors(client, tmp_path, config, judge, server, output_of)
    yield anchors
    for each in anchors.opened:
        each.close()
    server.stop()


def advance(schedule: AnchorSchedule) -> list[str]:
    with capture_logs() as lines:
        schedule.advance()
    return [f"{line['event']} {line.get('action', '')}".strip() for line in lines]


def test_each_period_has_one_run_whatever_stops_in_between(anchors: Anchors) -> None:
    anchors.register(budget=EvaluatorBudget(calls=36_000))
    (line,) = advance(anchors.schedule())
    assert line == "anchors are not judged Run `barograph judges anchors --model toy --evaluator faithful --bank 60`."
    assert "Bank: 6 runs" in anchors.command(0, "--bank", "6")
    assert advance(anchors.schedule(is_responsible=False)) == []
    assert len(anchors.server.bodies) == 6 * N, "another process of the group judges the anchors"
    # A process that ends within the run loses its verdicts; its successor judges all anchors.
    anchors.judge.stop, anchors.judge.stop_at = threading.Event(), 6 * N + 15
    advance(anchors.schedule(anchors.judge.stop))
    assert (anchors.stored(), len(anchors.server.bodies)) == ([], 6 * N + 16)
    assert advance(anchors.schedule()) == ["anchors judged"]
    ((_, n, right, no_result),) = anchors.stored()
    assert (n, right >= N - 2, no_result) == (N, True, 0)
    called = len(anchors.server.bodies)
    assert advance(anchors.schedule()) == ["anchors of this period are judged already"]
    assert len(anchors.server.bodies) == called
    anchors.now_s += HOUR_S
    assert advance(anchors.schedule()) == ["anchors judged"]
    assert len({run_id for run_id, *_ in anchors.stored()}) == 2
    anchors.command(0)


def test_a_worse_judge_is_found_and_a_changed_one_is_another_series(anchors: Anchors) -> None:
    anchors.register()
    anchors.command(0, "--bank", "20")
    assert anchors.findings() == {"faithful has drifted": 0.0, "faithful has used up its bank": 0.0}
    schedule = anchors.schedule()
    for _ in range(3):
        assert advance(schedule) == ["anchors judged"]
        anchors.now_s += HOUR_S
    anchors.command(0)
    anchors.judge.lost = {3, 4, 8, 9, 12}
    while "judge has drifted" not in advance(schedule):
        anchors.now_s += HOUR_S
        assert len(anchors.stored()) < 12, "found soon"
    assert "Drift since" in anchors.command(1)
    state = anchors.state()
    assert (state["outcome"], state["bank"], state["is_deterministic"]) == ("drifted", 20, False)
    assert list(state["log_e"].values())[-1] > 3.9
    assert anchors.findings() == {"faithful has drifted": 1.0, "faithful has used up its bank": 0.0}
    assert "The judge has drifted" in anchors.command(3, "--bank", "5")
    # Another rubric is another judge.
    anchors.edit("faithful.yaml", "right?", "correct?")
    assert "The judge or its anchors changed" in anchors.command(2)
    assert "cannot be compared" in anchors.command(3, "--run")
    anchors.command(0, "--bank", "5")
    assert anchors.state()["evaluator_version"] != state["evaluator_version"]
    assert anchors.findings()["faithful has drifted"] == 0.0


def test_an_endpoint_that_is_down_counts_for_nothing_and_a_bank_is_used_up(
    anchors: Anchors, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchors.register()
    anchors.command(0, "--bank", "5")
    anchors.judge.is_down = True
    with monkeypatch.context() as patched:
        # No retry begins after this time.
        patched.setenv("BAROGRAPH_EVALUATOR_TIMEOUT_S", "0.4")
        output = anchors.command(3, "--run")
    for text in ("No anchor has a verdict: ", "judge-overloaded: The endpoint answers with status 503"):
        assert text in output
    assert "run on anchors left out of the evidence" in advance(anchors.schedule())
    assert anchors.state()["incomplete"] >= 1
    assert "left out, because anchors have no verdict" in anchors.command(2)
    anchors.judge.is_down = False
    anchors.now_s += HOUR_S
    assert advance(anchors.schedule()) == ["anchors judged"]
    assert [no_result for *_, no_result in anchors.stored()] == [N, 0]
    assert anchors.state()["outcome"] == "no drift"
    while anchors.state()["outcome"] != "bank used up":
        anchors.command((0, 2), "--run")
    assert "The bank is used up" in anchors.command(3, "--run")
    assert anchors.findings()["faithful has used up its bank"] == 1.0


def test_anchors_wait_for_the_budget_and_must_be_readable(anchors: Anchors) -> None:
    # 10 calls at once and 2 in a minute: a run of 24 calls takes longer than an hour of this clock.
    anchors.register(budget=EvaluatorBudget(calls=120))
    anchors.command(0, "--bank", "5")
    called = len(anchors.server.bodies)
    schedule = anchors.schedule()
    assert advance(schedule) == []
    assert 10 <= len(anchors.server.bodies) - called <= 12
    anchors.now_s += HOUR_S
    advice = "Raise the budget, or anchors_every, in the contract."
    assert advance(schedule)[0] == f"anchors not judged in their period {advice}"
    assert anchors.stored() == []
    (anchors.folder / "anchors.jsonl").write_text('{"id": 1}', encoding="utf-8")
    assert "line 1:" in anchors.command(3, "--bank", "5")
