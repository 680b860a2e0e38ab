"""Bad input of `barograph drill` is rejected before anything is read: one sentence on stderr, and exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import run

SUITES = {"key.yaml": "suite: 1\nmodel: shop\ndrills:\n  - {fault: silence, feild: x}\n", "empty.yaml": "\n"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "mean-sift", "--model", "shop"], "did you mean mean-shift?"),
        (["run", "silence", "--model", "drill.shop.1"], "drill.shop.1 is the model of a drill"),
        (["run", "silence", "--model", "shop", "--duration", "1y"], "--duration: '1y' is not a duration"),
        (["suite", "key.yaml"], "key.yaml:4"),
        (["suite", "none.yaml"], "none.yaml cannot be read: no such file"),
        (["suite", "latin-1.yaml"], "latin-1.yaml cannot be read: the text is not UTF-8."),
        (["suite", "empty.yaml"], "empty.yaml is empty; write the keys suite, model and drills"),
        (["run", "silence", "--model", "shop", "--webhook", "ftp://x"], "--webhook does not start with http://"),
    ],
    ids=lambda value: "-".join(value[1:]) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in SUITES.items():
        Path(name).write_text(text)
    Path("latin-1.yaml").write_bytes("suite: 1 # für\n".encode("latin-1"))
    assert run("drill", *arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1, captured.err
