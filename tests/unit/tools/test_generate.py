"""`make check-generated` reports each file that differs from the code, and `make generate` removes the difference."""

from pathlib import Path

import pytest

from tools.generate import __main__ as command


def test_check_reports_what_write_repairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {tmp_path / "new" / "a.json": "a\n", tmp_path / "b.json": "b\n"}
    problems: list[str] = []
    monkeypatch.setattr(command, "GENERATORS", (lambda: (texts, problems),))
    monkeypatch.setattr(command, "OWNED", ((tmp_path, "*.json"),))
    (tmp_path / "b.json").write_text("c\n")
    (tmp_path / "old.json").write_text("")
    (tmp_path / "old.md").write_text("")
    assert command.main(["--check"]) == 1
    message = capsys.readouterr().err
    assert "a.json differs" in message
    assert "-c\n+b\n" in message
    assert "old.json is not generated" in message
    assert command.main(["--write"]) == command.main(["--check"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"new", "b.json", "old.md"}
    problems.append("A rule has no runbook.")
    assert command.main(["--write"]) == 1
    assert "no runbook" in capsys.readouterr().err
