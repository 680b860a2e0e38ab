"""The options of commands: structs and annotated parameters become typer's options, in one help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner, Result

from barograph_server.cli.main import COMMANDS, main
from barograph_server.cli.options import Arg, Opt, Options, expand
from barograph_server.terminal import TableColumn, rows_text
from tests.support.command_line import run


class Shared(Options, frozen=True):
    """Options of several commands."""

    from_: Annotated[str | None, Opt("Start.", "TIME")] = None
    fields: Annotated[tuple[str, ...], Opt("Only this field; repeatable.", "NAME", name="--field")] = ()
    limit: Annotated[int, Opt("At most.", min=1)] = 10


RECEIVED: list[dict[str, Any]] = []


def command(
    shared: Shared,
    files: Annotated[tuple[Path, ...], Arg("Files.", "FILE")],
    kind: Annotated[Literal["a", "b"], Opt("The kind.")],
    dry_run: Annotated[bool, Opt("Change nothing.")] = False,
) -> None:
    """Do something."""
    RECEIVED.append({"files": files, "kind": kind, "dry_run": dry_run, **shared.values()})


def call(*words: str) -> Result:
    app = typer.Typer(add_completion=False)
    app.command()(expand(command))
    RECEIVED.clear()
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


def test_a_struct_and_parameters_become_options() -> None:
    result = call("x.csv", "y.csv", "--kind", "b", "--from", "today", "--field", "k", "--field", "x", "--dry-run")
    assert result.exit_code == 0, result.output
    (received,) = RECEIVED
    files = (Path("x.csv"), Path("y.csv"))
    expected = {"files": files, "kind": "b", "dry_run": True, "from_": "today", "fields": ("k", "x"), "limit": 10}
    assert received == expected
    assert call("x.csv", "--kind", "a").exit_code == 0
    assert RECEIVED[0] | {"files": (), "kind": "b"} == {
        "files": (), "kind": "b", "dry_run": False, "from_": None, "fields": (), "limit": 10
    }  # fmt: skip


def test_wrong_values_are_refused_and_the_help_has_the_shared_options_last() -> None:
    for words in (("x.csv",), ("--kind", "a"), ("x.csv", "--kind", "c"), ("x.csv", "--kind", "a", "--limit", "0")):
        assert call(*words).exit_code == 2, words
    lines = call("--help").output.splitlines()
    shown = [line.split()[1 + (line.split()[1] == "*")] for line in lines if "--" in line.split("  ")[0] + line[:12]]
    assert [name for name in shown if name.startswith("--")] == [
        *("--kind", "--dry-run", "--from", "--field", "--limit", "--help")
    ]
    assert any("[default: 10]" in line for line in lines)


def test_every_command_has_the_summary_of_the_list_first_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name, entry in COMMANDS.items():
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert " ".join(capsys.readouterr().out.split()).find(entry.summary.split(",")[0]) > 0, name


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("barograph ")


def test_rows_are_written_for_programs_and_in_markdown() -> None:
    rows = [Opt("h", name="a|b", min=1200.0, metavar="x"), Opt("h", name="c")]
    columns = (TableColumn("name", "what", lambda name: f"<{name}>"), TableColumn("min", "least", ",.1f"))
    assert rows_text(rows, columns, "csv") == "name,min\na|b,1200.0\nc,\n"
    assert (
        rows_text(rows, columns, "markdown") == "| what | least |\n| --- | --- |\n| <a\\|b> | 1,200.0 |\n| <c> |  |\n"
    )
    assert json.loads(rows_text(rows[:1], columns, "json")) == [{"name": "a|b", "min": 1200.0}]
