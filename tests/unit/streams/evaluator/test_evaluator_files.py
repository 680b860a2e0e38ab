"""Evaluators follow their files: documents and rubrics that are missing or change give other versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from barograph.contract import Contract, Text
from barograph.contract.evaluators import Evaluator
from structlog.testing import capture_logs

from barograph_server.streams.evaluator.active import FILES_S, NO_VERSION, ActiveEvaluator, ActiveEvaluators
from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.judge_evaluators import JudgeEvaluators
from barograph_server.streams.evaluator.settings import EvaluatorSettings, JudgeEndpoint
from barograph_server.streams.registry.registry import Registry

RETURNS = "Customers may return goods within 30 days of delivery."
ANSWER = Answer("bot", "1", "a1", 0, f"“{RETURNS[:-1]}” [returns].")
RUBRIC = "rubric: 1\nname: right\nquestion: Is it right?\nscale: {faulty: It is wrong., sound: It is right.}\n"
EVALUATORS = {
    "cited": Evaluator(check="citations", documents="documents"),
    "right": Evaluator(judge="right.yaml", endpoint="small"),
    "grounded": Evaluator(judge="grounded.yaml", endpoint="small", documents="documents"),
}
CONTRACT = Contract(model="bot", text=Text(content="keep", sample=1.0), evaluators=EVALUATORS)


class Follower:
    def __init__(self, folder: Path) -> None:
        self.now_s = 0.0
        self.contract = CONTRACT
        judges = JudgeEvaluators(
            EvaluatorSettings(endpoints=(JudgeEndpoint("small", "m", "http://127.0.0.1:9/v1"),)), lambda _: False
        )
        self._active = ActiveEvaluators(
            lambda: Registry(contracts={"bot": self.contract}), folder, judges.build, lambda: self.now_s
        )

    def refresh(self, after_s: float = FILES_S) -> tuple[dict[str, ActiveEvaluator], list[Any]]:
        """Return the evaluators by name, and what the log says about those that cannot be used."""
        self.now_s += after_s
        with capture_logs() as lines:
            self._active.refresh()
        errors = [(line["evaluator"], line["reason"]) for line in lines if line["log_level"] == "error"]
        return {each.name: each for each in self._active.by_model["bot"]}, errors


def versions(evaluators: dict[str, ActiveEvaluator]) -> dict[str, str]:
    return {name: each.version for name, each in evaluators.items()}


def test_files_that_are_missing_or_change(tmp_path: Path) -> None:
    (tmp_path / "right.yaml").write_text(RUBRIC, encoding="utf-8")
    (tmp_path / "grounded.yaml").write_text(f"{RUBRIC}inputs: [context, answer]\n", encoding="utf-8")
    document = tmp_path / "documents" / "returns.md"
    document.parent.mkdir()
    follower = Follower(tmp_path)
    evaluators, errors = follower.refresh()
    assert {name for name, reason in errors if "has no documents" in reason} == {"cited", "grounded"}
    assert evaluators["cited"].version == evaluators["grounded"].version == NO_VERSION
    assert evaluators["cited"].evaluate(ANSWER).error == "setup-failed"
    document.write_text(RETURNS, encoding="utf-8")
    assert versions(follower.refresh(FILES_S / 2)[0]) == versions(evaluators), "files are looked at now and then"
    evaluators, errors = follower.refresh()
    assert (evaluators["cited"].evaluate(ANSWER).answer_class, errors) == ("sound", [])
    assert NO_VERSION not in versions(evaluators).values()
    assert versions(follower.refresh()[0]) == versions(evaluators)
    document.write_text(RETURNS.replace("30", "60 or 90"), encoding="utf-8")
    (tmp_path / "right.yaml").write_text(RUBRIC.replace("right?", "correct?"), encoding="utf-8")
    changed, _ = follower.refresh()
    assert changed["cited"].evaluate(ANSWER).answer_class == "faulty"
    assert not set(versions(changed).values()) & set(versions(evaluators).values())
    (tmp_path / "right.yaml").write_text(RUBRIC.replace("scale", "scales"), encoding="utf-8")
    evaluators, ((name, reason),) = follower.refresh()
    assert (name, "scales" in reason, evaluators["right"].version) == ("right", True, NO_VERSION)


def test_a_changed_contract_counts_at_once_and_a_judge_runs_without_anchors_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "right.yaml").write_text(RUBRIC, encoding="utf-8")
    follower = Follower(tmp_path)
    follower.contract = msgspec.structs.replace(CONTRACT, evaluators={"right": EVALUATORS["right"]})
    before = follower.refresh()[0]["right"]
    judge = msgspec.structs.replace(EVALUATORS["right"], share=0.5, anchors="anchors.jsonl")
    follower.contract = msgspec.structs.replace(CONTRACT, evaluators={"right": judge})
    evaluators, ((name, reason),) = follower.refresh(0.0)
    after = evaluators["right"]
    assert (name, "anchors.jsonl cannot be read: no such file" in reason, after.anchors) == ("right", True, None)
    assert (before.settings.share, after.settings.share, after.version) == (1.0, 0.5, before.version)
