"""The share of a text that is program code: characters in code fences, and in lines that look like code."""

from __future__ import annotations

import re

MAX_CHARS = 20_000
"""Characters that are read of a text; the rest does not count."""
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_CODE_LINE = re.compile(
    r"[ \t]*(?:"
    r"(?:def|class|import|from|return|elif|else:|try:|except|for|while|with|async|await|lambda|raise)\b.*[:(=]\s*\S*\s*$"
    r"|(?:import\s+[\w.]+(?:\s+as\s+\w+)?|from\s+[\w.]+\s+import\s+[\w., *()]+)$"
    r"|(?:const|let|var|function|public|private|static|void|int|fn|func|struct|package|#include|#define|using)\b.*[;{}()<>\"]\s*$"
    r"|(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|FROM|WHERE|JOIN)\b.*[*=,;()]"
    r"|</?[A-Za-z][\w:-]*(?:\s[^<>]*)?>"
    r"|[\w.\[\]\"']+\s*(?:=|\+=|:=|->|=>)\s*\S"
    r"|[\w.]+\([^()]*\)\s*;?\s*$"
    r"|[{}\[\]();,]+\s*$"
    r"|(?:\$|>>>)\s\S"
    r"|.*[;{]\s*$"
    r")"
)
_MAX_LINE_CHARS = 400
"""Longer lines are prose: the pattern does not read them."""


def code_share(text: str) -> float | None:
    """Return the share of characters, from 0 to 1, that are code; None for an empty text.

    Everything between two fences (three backticks or tildes at the start of a line) is code, and after a fence that
    is not closed. Outside of fences, a line is code if it looks like a statement of a usual language. White space
    does not count.
    """
    text = text[:MAX_CHARS]
    total = code = 0
    in_fence = False
    for line in text.splitlines():
        n_chars = len(line) - line.count(" ") - line.count("\t")
        if _FENCE.match(line):
            in_fence = not in_fence
            total, code = total + n_chars, code + n_chars
            continue
        total += n_chars
        if in_fence or (len(line) <= _MAX_LINE_CHARS and _CODE_LINE.match(line)):
            code += n_chars
    return code / total if total else None
