"""The threat model in docs/security.md: every row names its tests, and every named test exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows(page: str) -> list[list[str]]:
    """The cells of each row of the table of the threat model."""
    section = page.partition("\n## Threat model\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def missing_tests(page: str, root: Path) -> list[str]:
    """The tests that a page names and that pytest would not collect."""
    collected: Mapping[str, set[str]] = {
        path: {
            node.name
            for node in ast.parse((root / path).read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        }
        for path, _ in NAMED.findall(page)
        if (root / path).name.startswith("test_") and (root / path).exists()
    }
    return [f"{path}::{name}" for path, name in NAMED.findall(page) if name not in collected.get(path, ())]


def test_every_row_names_its_actor_asset_bound_and_tests() -> None:
    assert len(rows(PAGE)) > 15
    for row in rows(PAGE):
        assert len(row) == 4, row
        assert all(row), row
        assert NAMED.findall(row[3]), row
        assert NAMED.sub("", row[3]).strip(", ") == "", row


def test_every_named_test_exists() -> None:
    assert missing_tests(PAGE, ROOT) == []


@pytest.mark.parametrize(
    "name",
    [
        "tests/unit/repository/test_threat_model.py::test_that_does_not_exist",
        "tests/unit/repository/test_threat_model.py::rows",
        "tests/unit/repository/test_nowhere.py::test_every_named_test_exists",
        "tests/unit/repository/sources.py::tree_of",
    ],
)
def test_a_test_that_does_not_exist_is_reported(name: str) -> None:
    assert missing_tests(f"see `{name}`", ROOT) == [name]


def test_the_page_says_what_is_not_defended() -> None:
    section = PAGE.partition("\n## What is not defended\n")[2].partition("\n## ")[0]
    assert len(re.findall(r"^- \*\*", section, re.MULTILINE)) > 4
