"""Terminal output of all commands: consoles, tables, key-value blocks, level colors, and the form of numbers and times.

Names and values come from other systems, and a terminal executes the control characters in them: a category may hold a
sequence that sets the window title, moves the cursor over earlier output or writes to the clipboard. Everything printed
here shows such characters as visible symbols. Colors appear only on a terminal.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from operator import attrgetter
from time import monotonic
from typing import Any, Literal, NamedTuple, Self

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from barograph_server.plain_values import plain

PIPE_WIDTH = 10_000
"""Width in characters where the output is not a terminal: rows of tables stay on one line."""
STEP_S = 5.0
"""Shortest time between two lines of progress where the output is not a terminal, in seconds."""
LEVEL_STYLES = {"insufficient": "dim", "stable": "green", "minor": "yellow", "major": "bold red"}
"""Styles of the levels of a verdict."""
CHANGE_STYLES = {"+": "green", "~": "yellow", "!": "bold yellow", "-": "red"}
"""Styles of lines about changes, by their first character: created, changed, warning, removed."""

_ALLOWED = "\n\t"
_CONTROL_PICTURES = 0x2400
"""Unicode block with a symbol for each of the first 32 characters: ␀ to ␟."""


# --- text -------------------------------------------------------------------------------------------------------------


def visible(text: str) -> str:
    """Replace control characters, and characters that change the writing direction, by visible symbols."""
    if text.isprintable():
        return text
    return "".join(map(_symbol, text))


def escaped(text: str) -> str:
    """Replace every character that is not printable by its escape sequence, as Python writes it."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def one_line(text: str) -> str:
    """Replace every character that is not printable, line feeds included, by a space."""
    return "".join(character if character.isprintable() else " " for character in text)


def _symbol(char: str) -> str:
    if char in _ALLOWED or unicodedata.category(char) not in ("Cc", "Cf", "Cs"):
        return char
    code = ord(char)
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    return "␡" if code == 0x7F else f"\\u{code:04x}"


class SafeText(Text):
    """A `rich.text.Text` without control characters; its content is never read as markup."""

    def __init__(self, text: str = "", *args: Any, **options: Any) -> None:
        super().__init__(visible(text), *args, **options)

    def append(self, text: Text | str, style: Any = None) -> Self:
        super().append(visible(text) if isinstance(text, str) else text, style)
        return self


Cell = str | SafeText


# --- output -----------------------------------------------------------------------------------------------------------


class AlignedTable(Table):
    """A table without borders. Columns of numbers are aligned to the right; long cells wrap."""

    def __init__(self, *columns: str, numbers: Collection[str] = (), header_style: str = "bold") -> None:
        """Define the columns; `numbers` are the headings of those with numbers."""
        super().__init__(box=None, header_style=header_style, pad_edge=False)
        for column in columns:
            self.add_column(SafeText(column), justify="right" if column in numbers else "left", overflow="fold")

    def row(self, *cells: Cell, style: str = "") -> None:
        self.add_row(*(SafeText(cell) if isinstance(cell, str) else cell for cell in cells), style=style)


class TableColumn(NamedTuple):
    """A column of a table whose rows are objects."""

    value: str | Callable[[Any], Any]
    """An attribute, also of an attribute (`row.model`), or a function of the row."""
    title: str = ""
    """By default the attribute's name."""
    format: str | Callable[[Any], Cell] = ""
    """How a value is written: a format such as `,.1f` or a function. A value that is None or NaN is empty."""
    is_number: bool = False
    """Whether it is aligned to the right, as one with a format in text is."""

    @property
    def key(self) -> str:
        """The column's name for programs."""
        return self.value.rpartition(".")[2] if isinstance(self.value, str) else self.title.replace(" ", "_")

    @property
    def heading(self) -> str:
        """The column's name for people."""
        return self.title or self.key.replace("_", " ")

    def read(self, row: Any) -> Any:
        return attrgetter(self.value)(row) if isinstance(self.value, str) else self.value(row)

    def cell(self, row: Any) -> Cell:
        """Return the value of a row as people read it."""
        value = self.read(row)
        if value is None or value != value:
            return ""
        if callable(self.format):
            return self.format(value)
        return value if isinstance(value, SafeText) else format(value, self.format)


def make_table(
    rows: Iterable[Any], columns: Sequence[TableColumn], style: Callable[[Any], str] | None = None
) -> AlignedTable:
    """Make a table of rows for the terminal, each in a style."""
    numbers = {each.heading for each in columns if each.is_number or (each.format and isinstance(each.format, str))}
    table = AlignedTable(*(each.heading for each in columns), numbers=numbers)
    for row in rows:
        table.row(*(each.cell(row) for each in columns), style=style(row) if style else "")
    return table


def rows_text(rows: Sequence[Any], columns: Sequence[TableColumn], form: Literal["json", "csv", "markdown"]) -> str:
    """Write rows for programs or as a table in Markdown."""
    if form == "json":
        return json_text([{each.key: each.read(row) for each in columns} for row in rows])
    if form == "csv":
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(each.key for each in columns)
        writer.writerows([plain(each.read(row)) for each in columns] for row in rows)
        return file.getvalue()
    cells = [[each.heading for each in columns], ["---"] * len(columns)]
    cells += [[str(each.cell(row)).replace("|", "\\|") for each in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


class Terminal:
    """Standard output or standard error of a command."""

    def __init__(self, console: Console | None = None, *, stderr: bool = False, is_wide: bool = True) -> None:
        """Open the output.

        Args:
            is_wide: whether the width is `PIPE_WIDTH` if the output is not a terminal; for pages that fill the width,
                use False.
        """
        self.console = console or Console(stderr=stderr)
        if is_wide and not self.console.is_terminal:
            self.console.width = max(self.console.width, PIPE_WIDTH)

    @property
    def width(self) -> int:
        return self.console.width

    def line(self, text: Cell = "", style: str = "") -> None:
        """Print a line of any length, without wrapping it."""
        self.console.print(SafeText(text, style=style) if isinstance(text, str) else text, soft_wrap=True)

    def lines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.line(text)

    def changes(self, texts: Iterable[str]) -> None:
        """Print lines in the style of `CHANGE_STYLES`."""
        for text in texts:
            self.line(text, CHANGE_STYLES.get(text.lstrip()[:1], ""))

    def table(self, table: AlignedTable) -> None:
        self.console.print(table)

    def rows(
        self, rows: Iterable[Any], columns: Sequence[TableColumn], style: Callable[[Any], str] | None = None
    ) -> None:
        self.table(make_table(rows, columns, style))

    def pairs(self, pairs: Mapping[str, Cell]) -> None:
        """Print a line per key and value, with the values aligned."""
        width = max(map(len, pairs), default=0)
        for key, value in pairs.items():
            self.line(SafeText(f"{key:<{width}}  ").append(value))

    def json(self, value: Any) -> None:
        """Print a value as JSON, as `json_text` writes it."""
        print(json_text(value), end="")

    @contextmanager
    def steps(self, text: str = "reading") -> Iterator[Callable[[str], None]]:
        """As `status`; the block gets a function that changes the text, or prints it where there is no terminal."""
        printed, printed_s = text, monotonic()

        def show(step: str) -> None:
            nonlocal printed, printed_s
            if self.console.is_terminal:
                status.update(SafeText(step))
            elif step != printed and monotonic() - printed_s >= STEP_S:
                printed, printed_s = step, monotonic()
                self.line(step)

        with self.status(text) as status:
            yield show

    def status(self, text: str) -> AbstractContextManager[Status]:
        """Show a status line while the block runs, only on a terminal."""
        return self.console.status(SafeText(text))


# --- numbers ----------------------------------------------------------------------------------------------------------


def cut(text: str, most_chars: int) -> str:
    """Cut a text that is too long, with an ellipsis as its last character."""
    return text if len(text) <= most_chars else f"{text[: most_chars - 1]}…"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Join the first names, and say how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Write a count with its noun, whose plural has an s by default: `1 rule`, `1,200 rules`."""
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def significant(value: float) -> str:
    return f"{value:.6g}"


def percentage(share: float, digits: int = 1) -> str:
    """Write a share in percent; 0 and 1 have no decimals."""
    return f"{share:.{digits}%}" if 0 < share < 1 else f"{share:.0%}"


def ratio(part: int, whole: int) -> str:
    """Write `part` of `whole` in percent, without rounding a small part to 0% or a large one to 100%."""
    if part in (0, whole):
        return "100%" if part else "0%"
    share = part / whole
    if share < 0.0001:
        return "< 0.01%"
    return "> 99.99%" if share > 0.9999 else f"{share:.2%}"


def json_text(value: Any) -> str:
    """Write a result as JSON: structs by the names of their attributes, times in ISO 8601, unknown numbers as null."""
    return json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def picked(value: Any, *attributes: str) -> dict[str, Any]:
    """Return some attributes of a value, by their names; also attributes of an attribute (`rule.name`)."""
    return {each.rpartition(".")[2]: attrgetter(each)(value) for each in attributes}


# --- times ------------------------------------------------------------------------------------------------------------


def utc_minute(at: float | datetime) -> str:
    """Write a time (a number is Unix seconds) to the minute, in UTC: `2026-03-01 12:00`."""
    return f"{_utc(at):%Y-%m-%d %H:%M}"


def utc_second(at: float | datetime) -> str:
    """Write a time (a number is Unix seconds) to the second, in UTC: `2026-03-01 12:00:00Z`."""
    return f"{_utc(at):%Y-%m-%d %H:%M:%SZ}"


def iso_utc(at: float | datetime, *, seconds: bool = False) -> str:
    """Write a time (a number is Unix seconds) in ISO 8601, in UTC, as options accept it: `2026-03-01T12:00Z`.

    `seconds` writes the seconds even if they are 0.
    """
    moment = _utc(at)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if seconds or moment.second else f"{moment:%Y-%m-%dT%H:%MZ}"


def age(seconds: float, *, rounds_up: bool = False) -> str:
    """Write an age in its largest fitting unit: `40 s`, `12 min`, `3 h`, `9 d`; `0 s` if clocks disagree."""
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds // size_s + rounds_up:.0f} {unit}"
    return f"{max(seconds, 0) + rounds_up:.0f} s"


def _utc(at: float | datetime) -> datetime:
    return at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)


NAME_CHARS = 40
"""Maximum length of a displayed name."""


def shorten_name(name: str) -> str:
    """Truncate a name to fit a table column, with control characters escaped."""
    return cut(escaped(name), NAME_CHARS)
