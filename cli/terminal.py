"""Text on a screen: names and values are anybody's, and a screen obeys the control characters in them.

A category may hold the sequence that sets a window's title, moves the cursor over what was printed before it, or
writes into the clipboard. What is printed shows such characters as signs instead.
"""

from __future__ import annotations

import unicodedata
from typing import Any, Self

from rich import text as rich_text

_KEPT = "\n\t"
_PICTURES = 0x2400
"""Unicode has a picture of each of the first 32 characters: ␀ to ␟."""


def visible(text: str) -> str:
    """Show control characters, and those that turn the direction of writing round, as signs."""
    if text.isprintable():
        return text
    return "".join(map(_sign, text))


def _sign(char: str) -> str:
    if char in _KEPT or unicodedata.category(char) not in ("Cc", "Cf", "Cs"):
        return char
    code = ord(char)
    if code < 0x20:
        return chr(_PICTURES + code)
    return "␡" if code == 0x7F else f"\\u{code:04x}"


class Text(rich_text.Text):
    """`rich.text.Text` of what is visible."""

    def __init__(self, text: str = "", *args: Any, **options: Any) -> None:
        super().__init__(visible(text), *args, **options)

    def append(self, text: rich_text.Text | str, style: Any = None) -> Self:
        """Add text, made visible."""
        super().append(visible(text) if isinstance(text, str) else text, style)
        return self
