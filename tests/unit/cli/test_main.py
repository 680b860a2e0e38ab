"""The command as a whole: its list of commands, its imports, its error messages."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from barograph import ContractError
from barograph.contract.problems import Problem
from confluent_kafka import KafkaError, KafkaException

from cli import main as command
from cli.errors import EXIT_FAILED, EXIT_USAGE, CommandError
from cli.main import COMMANDS, describe_error, main
from warehouse.client import WarehouseBusy


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


def functions(name: str) -> dict[str, Any]:
    """Return the functions of a command by its words: one, or those of its subcommands."""
    entry = COMMANDS[name]
    target = getattr(importlib.import_module(entry.module), entry.function)
    if isinstance(target, typer.Typer):
        return {f"{name} {command.name}": command.callback for command in target.registered_commands}
    return {name: target}


def test_each_command_has_the_summary_of_its_help_and_examples() -> None:
    closed = "infer load check skew baseline plan apply run dev status demo query distribution simulate backtest"
    later = (
        "doctor dead-letters rebuild compare reference promote shadow detectability drill prompts evaluations codebook "
        "review eval consumers judges changes lineage"
    )
    assert set(COMMANDS) <= {*closed.split(), *later.split()}
    for name, entry in COMMANDS.items():
        target = getattr(importlib.import_module(entry.module), entry.function)
        group = target.registered_callback if isinstance(target, typer.Typer) else None
        summary = inspect.getdoc(target if group is None else group.callback)
        assert summary is not None
        assert summary.splitlines()[0] == entry.summary, name
        for words, function in functions(name).items():
            assert f"Examples:\n    barograph {words}" in (inspect.getdoc(function) or ""), words


def test_the_help_lists_every_command_without_heavy_imports() -> None:
    code = (
        "import sys\nfrom cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'pyarrow', 'confluent_kafka', 'clickhouse_connect', 'faust', 'msgspec', 'chdb'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "loaded []"
    for name in COMMANDS:
        assert f" {name} " in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_keeps_its_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in functions(name):
        assert run(*words.split(), "--help") == 0
        shown = capsys.readouterr().out
        assert f"    barograph {words}" in shown.replace("│", "")


def test_a_wrong_command_line_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("aply") == EXIT_USAGE
    assert "Did you mean 'apply'?" in capsys.readouterr().err
    assert run("run", "juggler") == EXIT_USAGE
    assert run("query") == EXIT_USAGE


KAFKA = KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (CommandError("Do this."), "Do this."),
        (WarehouseBusy("ClickHouse is down."), "ClickHouse is down."),
        (
            ContractError([Problem("a.yaml", 3, "wrong"), Problem("a.yaml", 4, "also")]),
            "a.yaml:3: wrong\na.yaml:4: also",
        ),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), "x.csv: no such file or directory."),
        (OSError(28, "No space left on device"), "No space left on device."),
        (KAFKA, "Check bootstrap_servers and that the broker runs."),
        (TypeError("a\n b"), "a bug in Barograph: TypeError: a b. Run the command again with --debug"),
    ],
)
def test_errors_are_described_in_sentences(error: Exception, message: str) -> None:
    assert message in describe_error(error)
    assert describe_error(error).endswith((".", "also"))


def test_errors_go_to_standard_error_and_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: list[str], prog_name: str) -> None:
        assert args == ["status"]
        raise CommandError("Do this.")

    monkeypatch.setattr(command, "app", fail)
    assert run("status") == EXIT_FAILED
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "Do this.\n")
    with pytest.raises(CommandError):
        main(["status", "--debug"])


def test_the_page_of_commands_names_every_option() -> None:
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n## ")}
    for name in COMMANDS:
        (text,) = [part for title, part in sections.items() if name in title.split()]
        parameters: list[Any] = []
        for function in functions(name).values():
            single = typer.Typer()
            single.command()(function)
            parameters += typer.main.get_command(single).params
        for parameter in parameters:
            options = [word for word in parameter.opts if word.startswith("--")]
            if set(options) & {"--config", "--install-completion", "--show-completion"}:
                continue
            assert all(f"`{option}" in text or f" {option}" in text for option in options), (name, options)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(("promote",), 3, id="no-model"),
        pytest.param(("promote", "--model", "m", "--days", "3"), 3, id="unknown-option"),
        pytest.param(("promote", "--model", "m", "--config", "missing.toml"), 3, id="failed"),
        pytest.param(("eval", "gate", "m"), 3, id="no-candidate"),
        pytest.param(("eval", "import", "missing.json"), 3, id="no-log"),
        pytest.param(("shadow", "status"), 2, id="other-command"),
        pytest.param(("shadow", "status", "--model", "m", "--config", "missing.toml"), 1, id="other-failed"),
        pytest.param(("promte",), 2, id="unknown-command"),
    ],
)
def test_an_error_of_promote_is_no_decision(words: tuple[str, ...], expected: int) -> None:
    assert run(*words) == expected
