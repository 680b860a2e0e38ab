"""Terminal output: escaping, tables, numbers, times."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from rich.console import Console

from cli.terminal import (
    PIPE_WIDTH,
    AlignedTable,
    SafeText,
    Terminal,
    age,
    iso_utc,
    one_line,
    percentage,
    ratio,
    utc_minute,
    utc_second,
    visible,
)


def make_terminal(*, is_terminal: bool = False, width: int = 80) -> tuple[Terminal, io.StringIO]:
    output = io.StringIO()
    return Terminal(Console(file=output, force_terminal=is_terminal, width=width, legacy_windows=False)), output


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


def test_only_the_terminal_module_imports_text_and_tables_of_rich() -> None:
    files = (Path(__file__).resolve().parents[3] / "cli").rglob("*.py")
    others = [
        path.name for path in files if any(f"from rich.{m} import" in path.read_text() for m in ("text", "table"))
    ]
    assert others == ["terminal.py"]


def test_tables_wrap_on_a_terminal_and_never_in_a_pipe() -> None:
    table = AlignedTable("name", "n", numbers=("n",))
    table.row("x" * 100, "1,200")
    table.row("y", "3", style="bold")
    terminal, output = make_terminal()
    terminal.table(table)
    lines = output.getvalue().splitlines()
    assert [line.rstrip() for line in lines] == [f"{'name':<100}      n", f"{'x' * 100}  1,200", f"{'y':<100}      3"]
    assert terminal.console.width == PIPE_WIDTH
    terminal, output = make_terminal(is_terminal=True)
    terminal.table(table)
    assert len(output.getvalue().splitlines()) == 4
    assert "\x1b[1m" in output.getvalue(), "styles only on a terminal"


def test_json_has_null_for_numbers_that_are_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().json({"a": [1.5, math.nan, math.inf], "at": datetime(2026, 3, 1, tzinfo=UTC), "t": ("é",)})
    output = json.loads(capsys.readouterr().out)
    assert output == {"a": [1.5, None, None], "at": "2026-03-01T00:00:00+00:00", "t": ["é"]}


def test_a_ratio_never_rounds_a_row_away() -> None:
    ratios = [ratio(0, 9), ratio(9, 9), ratio(1, 3), ratio(1, 10**6), ratio(10**6 - 1, 10**6)]
    assert ratios == ["0%", "100%", "33.33%", "< 0.01%", "> 99.99%"]
    assert [percentage(0), percentage(1), percentage(0.875, 2)] == ["0%", "100%", "87.50%"]
    assert [age(-1), age(119), age(120), age(7200), age(200_000)] == ["0 s", "119 s", "2 min", "2 h", "2 d"]


def test_times_are_utc() -> None:
    at = datetime(2026, 3, 1, 12, 30, 5, tzinfo=timezone(timedelta(hours=2)))
    assert utc_minute(at) == utc_minute(at.timestamp()) == "2026-03-01 10:30"
    assert utc_second(at) == "2026-03-01 10:30:05Z"
    assert [iso_utc(at), iso_utc(at.replace(second=0))] == ["2026-03-01T10:30:05Z", "2026-03-01T10:30Z"]
    assert iso_utc(at.replace(second=0), seconds=True) == "2026-03-01T10:30:00Z"
