"""What is printed commands no screen."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from cli.terminal import Text, visible


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
def test_control_characters_become_signs(text: str, shown: str) -> None:
    assert visible(text) == shown
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    console.print(Text(text), soft_wrap=True)
    console.print(Text("").append(text, "bold"), soft_wrap=True)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in written
    if "\t" not in text:
        assert written.count(shown) == 2


def test_markup_is_no_markup() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    console.print(Text("[red]name[/red] [link=file:///etc]x[/link]"))
    assert console.file.getvalue() == "[red]name[/red] [link=file:///etc]x[/link]\n"  # type: ignore[attr-defined]


def test_every_command_shows_text_so() -> None:
    rooms = Path(__file__).resolve().parents[3] / "cli"
    others = [path.name for path in rooms.rglob("*.py") if "from rich.text import" in path.read_text("utf-8")]
    assert others == []
