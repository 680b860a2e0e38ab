"""Each quickstart, executed as it is written; docs/start/llm.md needs a model and is in test_first_hour.py."""

from pathlib import Path

import pytest

from tests.support.page_shell import Shell, blocks, page_commands, shell

__all__ = ["shell"]


def follow(shell: Shell, page: str, **output: str) -> None:
    """Run the commands of a page; a command that begins with a name of `output` must print its text."""
    for line in page_commands(f"start/{page}.md"):
        shell.run(line)
        for command, text in output.items():
            if line.startswith(f"barograph {command}"):
                assert text in shell.output, (line, shell.output)


@pytest.mark.smoke
def test_two_tables(shell: Shell) -> None:
    follow(shell, "tables", compare="auc 0.650 instead of 0.762")
    assert "<svg" in Path("report.html").read_text(encoding="utf-8")
    (notebook,) = blocks("start/tables.md", "python")
    report = shell.execute(notebook)["report"]
    assert "<svg" in report._repr_html_()


def test_a_service(shell: Shell) -> None:
    (script,) = blocks("start/service.md", "python")
    Path("serve.py").write_text(script, encoding="utf-8")
    for line in page_commands("start/service.md"):
        if line.startswith("barograph query"):
            assert '"score":' in shell.output
            shell.pipeline.wait_rows("SELECT count() = 1 FROM predictions", "the recorded call")
        shell.run(line)
    assert "flight-delay" in shell.output


def test_questions_and_the_way_from_a_page_to_its_cause(shell: Shell) -> None:
    follow(shell, "analyst", query="2")
    assert "8,062 sent = 8,062 counted" in shell.load_report
    follow(shell, "on-call", status="performance of auc", changes="No change is recorded", simulate="page")


def test_own_servers(shell: Shell) -> None:
    follow(shell, "platform", plan="flight-delay", doctor="matching baselines")
