"""Suites are read with line numbers, and bad ones are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest
from barograph.contract.problems import ContractError

from cli.drill.suite import read_suite
from drills.errors import DrillError

ROOT = Path(__file__).resolve().parents[4]


def test_a_suite_is_read(tmp_path: Path) -> None:
    path = tmp_path / "drills.yaml"
    path.write_text(
        "suite: 1\nmodel: shop\nhistory: 8d\ndrills:\n"
        "  - {fault: mean-shift, field: x, magnitude: -2, duration: 1d, route: ops}\n  - {fault: silence}\n"
    )
    suite = read_suite(path)
    assert (suite.model, suite.version, suite.history_s) == ("shop", None, 8 * 86_400)
    first, second = suite.requests
    assert (first.injection.fault.name, first.injection.field, first.injection.magnitude) == ("mean-shift", "x", -2.0)
    assert (first.duration_s, first.route) == (86_400, "ops")
    assert second.title == "silence"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("suite: 1\nmodel: shop\ndrills: []\n", "drills"),
        ("suite: 2\nmodel: shop\ndrills: [{fault: silence}]\n", "suite"),
        ("suite: 1\nmodel: shop\ndrills:\n  - {fault: silence, feild: x}\n", "drills.yaml:4"),
        ("suite: 1\ndrills:\n  - {fault: silence}\n", "model"),
        ("suite: 1\nmodel: shop\ndrills:\n  - {fault: null-rise, rate: 2}\n", "drills.yaml:4"),
    ],
    ids=["empty", "format", "key", "model", "rate"],
)
def test_a_bad_suite_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "drills.yaml"
    path.write_text(text)
    with pytest.raises(ContractError) as error:
        read_suite(path)
    assert message in str(error.value)


def test_an_unknown_fault_and_a_missing_file_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "drills.yaml"
    path.write_text("suite: 1\nmodel: shop\ndrills: [{fault: silense}]\n")
    with pytest.raises(DrillError, match="did you mean silence"):
        read_suite(path)
    with pytest.raises(DrillError, match=r"The suite .*none\.yaml cannot be read: no such file"):
        read_suite(tmp_path / "none.yaml")


def test_the_suite_of_the_flights_is_valid() -> None:
    suite = read_suite(ROOT / "examples" / "flights" / "drills.yaml")
    assert len(suite.requests) >= 8
