"""Terminal output: escaping, tables, JSON."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime

import pytest
from rich.console import Console

from barograph_server.terminal import AlignedTable, SafeText, Terminal, one_line, visible


def make_terminal() -> tuple[Terminal, io.StringIO]:
    output = io.StringIO()
    return Terminal(Console(file=output, width=80, legacy_windows=False)), output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ünï 名 🙂", "plain – ünï 名 🙂"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\x1b[2Jb", "a␛[2Jb"),
        ("\x9b31m", "\\u009b31m"),
        ("new\rline\b", "new␍line␈"),
        ("del\x7f", "del␡"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("two\nlines\tand", "two\nlines\tand"),
        ("nul\x00", "nul␀"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
    terminal, output = make_terminal()
    terminal.line(text)
    terminal.line(SafeText("").append(text, "bold"))
    assert "\x1b" not in output.getvalue()
    if "\t" not in text:
        assert output.getvalue().count(shown) == 2
    table = AlignedTable("a")
    table.row(text)
    terminal.table(table)
    assert "\x1b" not in output.getvalue()


def test_text_is_never_markup() -> None:
    terminal, output = make_terminal()
    terminal.line("[red]name[/red] [link=file:///etc]x[/link]")
    assert output.getvalue() == "[red]name[/red] [link=file:///etc]x[/link]\n"
    assert one_line("a\nb\x1bc") == "a b c"


def test_tables_never_wrap_in_a_pipe() -> None:
    table = AlignedTable("name", "n", numbers=("n",))
    table.row("x" * 100, "1,200")
    terminal, output = make_terminal()
    terminal.table(table)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    assert lines == [f"{'name':<100}      n", f"{'x' * 100}  1,200"]


def test_json_has_null_for_numbers_that_are_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().json({"a": [1.5, math.nan, math.inf], "at": datetime(2026, 3, 1, tzinfo=UTC), "t": ("é",)})
    output = json.loads(capsys.readouterr().out)
    assert output == {"a": [1.5, None, None], "at": "2026-03-01T00:00:00+00:00", "t": ["é"]}
