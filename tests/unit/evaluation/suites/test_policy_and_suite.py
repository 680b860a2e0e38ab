"""Policies of the gate and suite files: values, and errors with their line."""

from __future__ import annotations

from pathlib import Path

import pytest
from barograph.contract.problems import ContractError

from barograph_server.errors import CommandError
from barograph_server.evaluation.suites.policy import SuiteRules, load_gate_policy
from barograph_server.evaluation.suites.suite import read_suite_file

EVALS = Path(__file__).parents[4] / "examples" / "support_bot" / "evals"


def written(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_files_of_the_example() -> None:
    assert load_gate_policy(EVALS / "policy.yaml") == {"answers": SuiteRules(0.1, 50)}
    suite = read_suite_file(EVALS / "answers.yaml")
    assert (suite.task, suite.epochs, suite.items, suite.connections) == (EVALS / "answers.py", 1, None, 2)


def test_wrong_policies(tmp_path: Path) -> None:
    for text, problem in (
        ("", "suites"),
        ("suites: {a: {margin: 0.1}}", "items: is missing"),
        ("suites: {a: {margin: 0.1, items: 5, mising: 1}}", "the key 'mising' is unknown"),
        ("suites:\n  a: {margin: 0.05, items: 50}", "file.yaml:2: suites.a.items: 50 is too"),
        ("suites: {a: {margin: 0.1, items: 25}}", "write 26 or more, or raise the margin"),
    ):
        with pytest.raises((ContractError, CommandError), match=problem):
            load_gate_policy(written(tmp_path, text))
    with pytest.raises(CommandError, match="give the path of a policy"):
        load_gate_policy(tmp_path / "absent.yaml")


def test_wrong_suites(tmp_path: Path) -> None:
    for text, problem in (
        ("", "is empty"),
        ("suite: 1\ntask: absent.py\nmodel: m", "there is no file"),
        ("suite: 1\ntask: a.py\nmodel: m\nlimits: {items: 0}", "out of range"),
        ("suite: 1\ntask: a.py\nmodel: m\nepoch: 3", "the key 'epoch' is unknown"),
    ):
        with pytest.raises((ContractError, CommandError), match=problem):
            read_suite_file(written(tmp_path, text))
