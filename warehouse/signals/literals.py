"""String literals for SQL that Grafana expands before ClickHouse reads it."""

import re
from collections.abc import Iterable

_SPECIAL = re.compile(r"['\"`\\$?{}#/*;%\x00-\x1f]|--+")


def literal(text: str) -> str:
    r"""Return a ClickHouse string literal that Grafana's macros do not change.

    Quotes and backslashes end or escape; `$` and braces start a macro, a variable or a parameter; `--`, `#` and `/*`
    start a comment, which simple parsers also remove inside literals. All of them are written as `\xHH`.
    """
    return f"'{_SPECIAL.sub(_escape, text)}'"


def literals(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(literal, texts))}]"


def _escape(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode())
