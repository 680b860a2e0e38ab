"""Programs that fail or take too long, and endpoints that do not answer."""

from __future__ import annotations

import socket
import stat
import sys
from pathlib import Path

import pytest

from barograph_server.errors import CommandError
from barograph_server.evaluation.suites.inspect_program import require_endpoint, run_inspect, run_program, uv_program
from barograph_server.evaluation.suites.suite import EvalSuite
from tests.support.pipeline import ROOT

PROMPT = {"name": "answer", "version": 8, "template": [], "config": {}}


def fake_program(folder: Path, body: str) -> Path:
    path = folder / "inspect"
    path.write_text(f"#!{sys.executable}\nimport os, sys, pathlib\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def suite_of(folder: Path) -> EvalSuite:
    task = folder / "answers.py"
    task.write_text("", encoding="utf-8")
    return EvalSuite(task, "openai-api/local/m", "http://127.0.0.1:1/v1", 2, 5, 3, 60)


def test_a_clone_needs_no_uv_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(uv_program()) == ROOT / "tools" / "uv"


def test_a_failure_shows_the_last_lines_of_both_outputs(tmp_path: Path) -> None:
    body = "[print(i) for i in range(20)]; print('no such model', file=sys.stderr); sys.exit(3)"
    with pytest.raises(CommandError) as caught:
        run_inspect(fake_program(tmp_path, body), suite_of(tmp_path), PROMPT, "m", tmp_path / "logs")
    lines = str(caught.value).splitlines()
    assert lines[0] == "inspect-ai with answers.py failed with status 3. Its last lines:"
    assert "  no such model" in lines
    assert len(lines) == 7


def test_the_program_receives_suite_prompt_and_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_API_KEY", raising=False)
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", "secret")
    body = (
        "folder = pathlib.Path(sys.argv[sys.argv.index('--log-dir') + 1])\n"
        "ours = [name for name in os.environ if name.startswith('BAROGRAPH_')]\n"
        "(folder / 'x.eval').write_text(repr([sys.argv[1:], os.environ['LOCAL_API_KEY'], os.getcwd(), ours]))"
    )
    log = run_inspect(fake_program(tmp_path, body), suite_of(tmp_path), PROMPT, "support-bot", tmp_path / "logs")
    text = log.read_text(encoding="utf-8")
    for words in (
        "'eval', 'answers.py', '--model', 'openai-api/local/m', '--epochs', '2'",
        "'--metadata', 'application=support-bot', '--metadata', 'prompt=answer@8'",
        "'--model-base-url', 'http://127.0.0.1:1/v1', '--limit', '5'",
        f"'none', {str(tmp_path)!r}, []]",
    ):
        assert words in text
    assert '"name": "answer"' in (log.parent / "prompt.json").read_text(encoding="utf-8")


def test_a_program_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="did not end within 1 s and was stopped"):
        run_program(
            [sys.executable, "-c", "import time; time.sleep(600)"], {}, cwd=tmp_path, timeout_s=1, what="The program"
        )


def test_an_endpoint_that_does_not_answer() -> None:
    # A port that is taken, where nobody listens.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(CommandError, match=r"does not answer: .*Start it, or name another with --endpoint"):
            require_endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    with pytest.raises(CommandError, match="is not an address"):
        require_endpoint("ftp://127.0.0.1")
