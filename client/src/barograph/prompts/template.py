"""Placeholders of templates: `{{name}}`, and nothing else.

A template is no program: a value is inserted as it is, and braces inside a value are not placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from barograph.contract.problems import quoted

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}", re.ASCII)
_BRACES = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_STATEMENT = re.compile(r"\{%.*?%\}", re.DOTALL)
VARIABLE_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def placeholders(text: str) -> tuple[str, ...]:
    """Return the names of the placeholders of a text, each once, in order."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


def template_faults(text: str) -> list[tuple[int, str]]:
    """Find what looks like a placeholder or a statement and is none.

    Returns:
        The line within the text, from 1, and the problem with its remedy.
    """
    faults = []
    for match in _BRACES.finditer(text):
        if _PLACEHOLDER.fullmatch(match[0]) is None:
            remedy = "write {{name}} with letters, digits and underscores"
            faults.append((match.start(), f"{quoted(match[0])} is not a placeholder; {remedy}"))
    for match in _STATEMENT.finditer(text):
        remedy = "templates have placeholders only: compute the value, and pass it as a variable"
        faults.append((match.start(), f"{quoted(match[0])} is a statement of Jinja; {remedy}"))
    return [(text.count("\n", 0, start) + 1, fault) for start, fault in sorted(faults)]


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders of a text in one pass."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)
