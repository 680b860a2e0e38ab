"""Options that several commands share, and the help texts of commands."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings file (TOML or YAML); by default barograph.toml in the current folder.",
        show_default=False,
    ),
]
FormatOption = Annotated[Literal["table", "json"], typer.Option("--format", help="Output format.")]
TimeOption = Annotated[str | None, typer.Option(metavar="COLUMN", help="Event times; required to learn φ.")]
ScoreOption = Annotated[str | None, typer.Option(metavar="COLUMN", help="The model's score.")]
ClassOption = Annotated[str | None, typer.Option("--class", metavar="COLUMN", help="The predicted class.")]
LatencyOption = Annotated[str | None, typer.Option(metavar="COLUMN", help="Latency of predictions, in milliseconds.")]
ScoresOption = Annotated[
    str | None,
    typer.Option(metavar="PREFIX", help="Prefix of the columns of class probabilities.", show_default="scores."),
]
ModelOption = Annotated[str, typer.Option("--model", help="Name of the model.", show_default=False)]
CandidateOption = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="The candidate that you expect; another one is an error.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _column_option(option: str, what: str) -> typer.models.OptionInfo:
    text = f"Column of {what}; by default that of the contract's `columns`."
    info: typer.models.OptionInfo = typer.Option(option, metavar="COLUMN", help=text, show_default=False)
    return info


IdColumnOption = Annotated[str | None, _column_option("--id", "prediction ids")]
TimeColumnOption = Annotated[str | None, _column_option("--time", "event times")]
ScoreColumnOption = Annotated[str | None, _column_option("--score", "the score")]
ClassColumnOption = Annotated[str | None, _column_option("--class", "the predicted class")]
LabelColumnOption = Annotated[str | None, _column_option("--label", "labels")]


def help_text(function: Any) -> str:
    """Make a command's help of its docstring: reflow paragraphs, and keep the lines of the examples at its end."""
    prose, _, examples = (inspect.getdoc(function) or "").partition("Examples:\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in prose.split("\n\n")]
    return "\n\n".join(filter(None, [*paragraphs, f"\b\nExamples:\n{examples}" if examples else ""]))
