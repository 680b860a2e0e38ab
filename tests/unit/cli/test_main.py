"""The command as a whole: its list of commands, its imports, its errors."""

import subprocess
import sys
from unittest.mock import Mock

import pytest
from barograph import ContractError
from barograph.contract.problems import Problem
from confluent_kafka import KafkaError, KafkaException

from barograph_server.cli import main as command
from barograph_server.cli.main import COMMANDS, describe_error, main
from barograph_server.errors import EXIT_FAILED, EXIT_UNREADABLE, EXIT_USAGE, EXIT_VIOLATIONS, CommandError
from tests.support.command_line import run


def test_the_help_lists_every_command_without_heavy_imports() -> None:
    code = (
        "import sys\nfrom barograph_server.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'pyarrow', 'confluent_kafka', 'clickhouse_connect', 'faust', 'msgspec', 'chdb'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "loaded []"
    for name in COMMANDS:
        assert f" {name} " in result.stdout


def test_a_wrong_command_line_ends_with_2_and_an_error_of_a_decision_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("aply") == EXIT_USAGE
    assert "Did you mean 'apply'?" in capsys.readouterr().err
    for words, expected in (
        (("run", "juggler"), EXIT_USAGE),
        (("query",), EXIT_USAGE),
        (("shadow", "status"), EXIT_USAGE),
        (("shadow", "status", "--model", "m", "--config", "missing.toml"), EXIT_FAILED),
        (("promote",), 3),
        (("promote", "--model", "m", "--days", "3"), 3),
        (("promote", "--model", "m", "--config", "missing.toml"), 3),
        (("eval", "gate", "--model", "m"), 3),
        (("eval", "import", "missing.json"), 3),
    ):
        assert run(*words) == expected, words


def test_a_gate_that_failed_does_not_exit_like_one_that_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, words in (
        ("batch.check.check", ("check", "d.csv", "--contract", "m.yaml")),
        ("batch.compare.compare.compare", ("compare", "a.csv", "b.csv", "--fail-at", "major")),
        ("batch.skew.skew.skew", ("skew", "--served", "a.csv", "--recomputed", "b.csv")),
    ):
        monkeypatch.setattr(f"barograph_server.{module}", Mock(side_effect=KeyError("x")))
        assert run(*words) == EXIT_UNREADABLE != EXIT_VIOLATIONS, words


KAFKA = KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (CommandError("Do this."), "Do this."),
        (
            ContractError([Problem("a.yaml", 3, "wrong"), Problem("a.yaml", 4, "also")]),
            "a.yaml:3: wrong\na.yaml:4: also",
        ),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), "x.csv: no such file or directory."),
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
