"""Options that several commands share, and how their help is made."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings (TOML or YAML); by default barograph.toml in the current folder.",
        show_default=False,
    ),
]


def help_text(function: Any) -> str:
    """The docstring: paragraphs flow, the examples at its end are kept line by line."""
    prose, _, examples = (inspect.getdoc(function) or "").partition("Examples:\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in prose.split("\n\n")]
    return "\n\n".join(filter(None, [*paragraphs, f"\b\nExamples:\n{examples}" if examples else ""]))
