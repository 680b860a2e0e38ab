"""Texts in SQL that Grafana expands before ClickHouse reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_RISKY = re.compile(r"['\"`\\$?{}#/*;%\x00-\x1f]|--+")


def literal(text: str) -> str:
    r"""Write a text as a literal of ClickHouse that means the same before and after Grafana's macros.

    Quotes and backslashes end or bend a literal; `$` and braces begin a macro, a variable or a parameter; `--`, `#` and
    `/*` begin a comment, which a careless reader blanks in literals too. All of them are written as `\xHH`.
    """
    return f"'{_RISKY.sub(_escape, text)}'"


def literals(texts: Iterable[str]) -> str:
    """Write texts as an array of literals."""
    return f"[{', '.join(map(literal, texts))}]"


def _escape(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode())
