"""The threat model in docs/security.md: every row names its tests, and every test run executes them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
SKIPPING = re.compile(r"mark\.(skip|skipif|xfail)\b")


def rows(page: str) -> list[list[str]]:
    """The cells of each row of the table of the threat model."""
    section = page.partition("\n## Threat model\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def missing_tests(page: str, root: Path) -> list[str]:
    """The tests that a page names and that `make test` does not execute: they do not exist, or a marker skips them."""
    executed = {path: executed_tests(root / path) for path, _ in NAMED.findall(page)}
    return [f"{path}::{name}" for path, name in NAMED.findall(page) if name not in executed[path]]


def executed_tests(path: Path) -> set[str]:
    """The tests of a file that pytest collects and no marker skips or allows to fail."""
    if not path.name.startswith("test_") or not path.exists():
        return set()
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assignments = [ast.unparse(node) for node in body if isinstance(node, ast.Assign)]
    if any(text.startswith("pytestmark = ") and SKIPPING.search(text) for text in assignments):
        return set()
    return {
        node.name
        for node in body
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not any(SKIPPING.search(ast.unparse(each)) for each in node.decorator_list)
    }


def test_every_row_names_its_actor_asset_bound_and_tests() -> None:
    assert len(rows(PAGE)) > 15
    for row in rows(PAGE):
        assert len(row) == 4, row
        assert all(row), row
        assert NAMED.findall(row[3]), row
        assert NAMED.sub("", row[3]).strip(", ") == "", row


def test_every_named_test_is_executed() -> None:
    assert missing_tests(PAGE, ROOT) == []


@pytest.mark.parametrize(
    "name",
    [
        "tests/unit/repository/test_threat_model.py::test_that_does_not_exist",
        "tests/unit/repository/test_threat_model.py::rows",
        "tests/unit/repository/test_nowhere.py::test_every_named_test_is_executed",
        "tests/unit/repository/sources.py::tree_of",
    ],
)
def test_a_test_that_does_not_exist_is_reported(name: str) -> None:
    assert missing_tests(f"see `{name}`", ROOT) == [name]


@pytest.mark.parametrize(
    ("source", "executed"),
    [
        ("def test_a(): ...", {"test_a"}),
        ("@pytest.mark.parametrize('x', [1])\ndef test_a(x): ...", {"test_a"}),
        ("@pytest.mark.skip\ndef test_a(): ...", set()),
        ("@pytest.mark.skipif(True, reason='')\ndef test_a(): ...", set()),
        ("@pytest.mark.xfail(strict=True)\ndef test_a(): ...\ndef test_b(): ...", {"test_b"}),
        ("pytestmark = [pytest.mark.skip]\ndef test_a(): ...", set()),
        ("pytestmark = pytest.mark.engine\ndef test_a(): ...", {"test_a"}),
    ],
)
def test_a_test_that_is_skipped_or_may_fail_is_not_executed(tmp_path: Path, source: str, executed: set[str]) -> None:
    path = tmp_path / "test_file.py"
    path.write_text(source, encoding="utf-8")
    assert executed_tests(path) == executed


def test_the_page_says_what_is_not_defended() -> None:
    section = PAGE.partition("\n## What is not defended\n")[2].partition("\n## ")[0]
    assert len(re.findall(r"^- \*\*", section, re.MULTILINE)) > 4
