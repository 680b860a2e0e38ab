"""Bad input of `barograph drill` is rejected before anything is read: one sentence on stderr, and exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.main import main

SUITES = {
    "key.yaml": "suite: 1\nmodel: shop\ndrills:\n  - {fault: silence, feild: x}\n",
    "fault.yaml": "suite: 1\nmodel: shop\ndrills: [{fault: silense}]\n",
    "rate.yaml": "suite: 1\nmodel: shop\ndrills: [{fault: null-rise, rate: 0}]\n",
    "drill.yaml": "suite: 1\nmodel: drill.shop.1\ndrills: [{fault: silence}]\n",
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "mean-sift", "--model", "shop"], "did you mean mean-shift?"),
        (["run", "silence", "--model", "drill.shop.1"], "drill.shop.1 is the model of a drill"),
        (["run", "silence", "--model", "shop", "--duration", "1y"], "--duration: '1y' is not a duration"),
        (["run", "silence", "--model", "shop", "--history", "0d"], "--history: '0d' is not a duration"),
        (["suite", "key.yaml"], "key.yaml:4"),
        (["suite", "fault.yaml"], "did you mean silence?"),
        (["suite", "rate.yaml"], "rate.yaml:3"),
        (["suite", "drill.yaml"], "drill.shop.1 is the model of a drill"),
        (["suite", "none.yaml"], "none.yaml cannot be read: no such file"),
    ],
    ids=["fault", "drill", "duration", "history", "key", "fault-of-suite", "rate-of-suite", "drill-of-suite", "file"],
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
    with pytest.raises(SystemExit) as exit_:
        main(["drill", *arguments])
    assert exit_.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1, captured.err
