"""The command `barograph`, run in the process of the test."""

import json
from typing import Any

import pytest

from barograph_server.cli.main import main


def run(*words: object) -> int:
    """Run `barograph WORDS` and return its exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run `barograph WORDS`; return its exit code, its output, and its errors on one line."""
    code = run(*words)
    printed = capsys.readouterr()
    return code, printed.out, " ".join(printed.err.split())


def call_json(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = run(*words)
    printed = capsys.readouterr()
    assert printed.out, printed.err
    result: dict[str, Any] = json.loads(printed.out)
    return code, result
