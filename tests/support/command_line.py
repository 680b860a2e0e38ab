"""The command `barograph`, run in the process of the test."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from barograph_server.cli.main import main

OutputOf = Callable[..., str]
"""Runs `barograph WORDS`, which must exit with the code, or one of the codes, that comes first; returns all output."""


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = run(*words)
    printed = capsys.readouterr()
    return code, printed.out, " ".join(printed.err.split())


def call_json(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = run(*words)
    printed = capsys.readouterr()
    assert printed.out, printed.err
    result: dict[str, Any] = json.loads(printed.out)
    return code, result


def output_of(capsys: pytest.CaptureFixture[str], code: int | tuple[int, ...], *words: object) -> str:
    capsys.readouterr()
    ended = run(*words)
    printed = capsys.readouterr()
    assert ended in (code if isinstance(code, tuple) else (code,)), printed.out + printed.err
    return printed.out + printed.err
