"""Generated files: written, checked, and removed if they are not generated any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.generate.generated_files import DIFF_LINES, main_of


def test_a_check_shows_each_difference_and_a_write_removes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, long, old = tmp_path / "sub" / "new.json", tmp_path / "long.json", tmp_path / "old.json"
    texts = {new: "1\n", long: "x\n" * 3 * DIFF_LINES}
    problems: list[str] = []

    def run(mode: str) -> tuple[int, str]:
        code = main_of("a.module", None, lambda: (texts, problems), [mode], owned=(tmp_path, "*.json"))
        return code, capsys.readouterr().err

    for path in (long, old):
        path.write_text("0\n", "utf-8")
    code, errors = run("--check")
    assert code == 1
    assert "@@ -0,0 +1 @@\n+1\nnew.json differs from the code: run python -m a.module --write\n" in errors
    assert "--- long.json\n+++ the code\n@@ -1 +1,120 @@\n-0\n" in errors
    assert errors.count("+x\n") == DIFF_LINES - 4
    assert errors.endswith("old.json is not generated any more: run python -m a.module --write\n")
    assert (new.exists(), old.exists()) == (False, True), "a check changes nothing"

    assert run("--write") == (0, "")
    assert {path: path.read_text("utf-8") for path in tmp_path.rglob("*.json")} == texts
    assert run("--check") == (0, "")
    problems.append("A table has no key.")
    assert run("--check") == run("--write") == (1, "A table has no key.\n")
