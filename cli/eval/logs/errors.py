"""Errors of logs."""

from __future__ import annotations

from cli.errors import CommandError


class EvalLogError(CommandError):
    """A log cannot be read; the text names the file and what to do."""
