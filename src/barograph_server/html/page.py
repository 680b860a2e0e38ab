"""The frame of reports as HTML: one page without scripts and without references to other files, and its tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from barograph_server.terminal import visible


def html_page(title: str, fragment: str) -> str:
    """Return a whole page.

    Args:
        title: the title, as text.
        fragment: the content, from `html_fragment`.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{html_text(title)}</title>\n</head>\n<body style="margin:0">\n{fragment}\n</body>\n</html>\n'
    )


def html_fragment(content: str) -> str:
    """Return HTML with the styles of reports, which apply only to it."""
    style = resources.files("barograph_server.html").joinpath("report.css").read_text(encoding="utf-8")
    return f'<div class="barograph-report"><style>{style}</style><main>{content}</main></div>'


def html_text(value: str) -> str:
    """Return text as HTML, on one line, with control characters as symbols."""
    return escape(visible(value).replace("\n", "␊"), quote=True)


def html_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = (), html: Sequence[int] = ()
) -> str:
    """Render a table.

    Args:
        numbers: indices of the columns aligned to the right.
        html: indices of the columns whose cells are HTML already.
    """

    def css(i: int) -> str:
        return ' class="n"' if i in numbers else ""

    head = "".join(f'<th scope="col"{css(i)}>{html_text(column)}</th>' for i, column in enumerate(columns))
    body = "".join(
        "<tr>"
        + "".join(f"<td{css(i)}>{cell if i in html else html_text(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
